from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kumo import submission as submission_module
from airflow_provider_kumo.client import calls, sync
from airflow_provider_kumo.client.config import KumoConfig
from airflow_provider_kumo.client.errors import (
    KumoRequestRefusedError,
    KumoSubmissionUnknownError,
)
from airflow_provider_kumo.client.jobs import CANCEL_TAG, Job, JobKind
from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.submission import (
    DELIVERED_TAG,
    REQUEST_TAG,
    TASK_KEY_TAG,
    TRY_TAG,
    Attempt,
    Submission,
    Submitter,
    TaskKey,
    cancel,
    decide,
    mark_delivered,
)

T = JobKind.TRAINING
LOG = logging.getLogger(__name__)
BORN = datetime(2026, 11, 20, tzinfo=UTC)


# -- the decision --------------------------------------------------------------------------------


def job(name: str, status: str = "RUNNING", *, age: int = 0, request: str = "same", **tags: str) -> Job:
    """Build a job of the task; of two, the one with the greater age was created earlier."""
    marks = {"delivered": DELIVERED_TAG, "cancelling": CANCEL_TAG}
    return Job(
        id=name,
        kind=T,
        status=status,
        created_at=BORN - timedelta(hours=age),
        tags={REQUEST_TAG: request, **{marks[key]: value for key, value in tags.items()}},
        cancel_requested="cancelling" in tags,
    )


@pytest.mark.parametrize(
    ("jobs", "take", "cancelled"),
    [
        ([], None, []),
        ([job("a")], "a", []),
        ([job("a", "QUEUED")], "a", []),
        ([job("a", "NOT_STARTED")], "a", []),
        ([job("a", "A_LATER_STATUS")], "a", []),
        ([job("a", age=1), job("b", age=2), job("c", age=0)], "b", ["a", "c"]),
        ([job("a", request="other")], None, ["a"]),
        ([job("a", request="other", age=5), job("b")], "b", ["a"]),
        ([job("a", cancelling="x")], None, ["a"]),
        ([job("a", cancelling="x", age=2), job("b")], "b", ["a"]),
        ([job("a", delivered="x")], None, []),
        ([job("a", delivered="x", age=2), job("b")], "b", []),
        ([job("a", "DONE")], "a", []),
        ([job("a", "DONE", age=2), job("b", "DONE", age=1)], "b", []),
        ([job("a", "DONE", delivered="x")], None, []),
        ([job("a", "DONE", cancelling="x")], None, []),
        ([job("a", "DONE", request="other")], None, []),
        ([job("a", "DONE"), job("b", age=3)], "b", []),
        ([job("a", "DONE"), job("b", request="other")], "a", ["b"]),
        ([job("a", "FAILED")], None, []),
        ([job("a", "CANCELLED")], None, []),
        ([job("a", "FAILED"), job("b", "DONE", delivered="x"), job("c", "CANCELLED")], None, []),
        ([job("a", "FAILED"), job("b", "DONE")], "b", []),
    ],
)
def test_the_decision_between_reattaching_adopting_and_starting_anew(jobs, take, cancelled):
    decision = decide(jobs, "same")
    assert (decision.take and decision.take.id) == take
    assert sorted(found.id for found in decision.cancel) == cancelled


def test_a_job_without_the_tag_of_its_request_is_not_taken():
    assert decide([Job(id="a", kind=T, status="DONE")], "same").take is None


MARKS = st.sets(st.sampled_from(["delivered", "cancelling"]))
JOBS = st.lists(
    st.builds(
        lambda status, age, request, marks: job("x", status, age=age, request=request, **dict.fromkeys(marks, "x")),
        st.sampled_from(["NOT_STARTED", "QUEUED", "RUNNING", "DONE", "FAILED", "CANCELLED", "MISSING"]),
        st.integers(0, 5),
        st.sampled_from(["same", "other"]),
        MARKS,
    ),
    max_size=7,
).map(lambda jobs: [Job(**{**vars(found), "id": f"job-{n}"}) for n, found in enumerate(jobs)])


@settings(deadline=None, max_examples=300)
@given(JOBS)
def test_whatever_there_is_one_job_is_kept_and_only_a_good_one(jobs):
    decision = decide(jobs, "same")
    cancelled = {found.id for found in decision.cancel}
    live = {found.id for found in jobs if not found.is_terminal and DELIVERED_TAG not in found.tags}
    taken = {decision.take.id} if decision.take else set()
    assert len((live - cancelled) | taken) <= 1
    assert not cancelled & taken
    assert cancelled <= live
    if decision.take is None:
        assert not any(
            found.tags[REQUEST_TAG] == "same"
            and CANCEL_TAG not in found.tags
            and (found.id in live or (found.status == "DONE" and DELIVERED_TAG not in found.tags))
            for found in jobs
        )
        return
    assert decision.take.tags[REQUEST_TAG] == "same"
    assert CANCEL_TAG not in decision.take.tags
    assert decision.take.status not in ("FAILED", "CANCELLED")
    assert not (decision.take.status == "DONE" and DELIVERED_TAG in decision.take.tags)


@settings(deadline=None, max_examples=100)
@given(JOBS, st.randoms())
def test_the_decision_does_not_depend_on_the_order_of_the_list(jobs, random):
    shuffled = random.sample(jobs, len(jobs))
    one, other = decide(jobs, "same"), decide(shuffled, "same")
    assert one.take == other.take
    assert {found.id for found in one.cancel} == {found.id for found in other.cancel}


# -- the key -------------------------------------------------------------------------------------


def key(**changes) -> TaskKey:
    return TaskKey(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, **changes})


def test_the_key_tells_task_instances_apart_and_nothing_else():
    others = [key(dag_id="D"), key(run_id="R"), key(task_id="T"), key(map_index=0), key(dag_id="dr", run_id="")]
    assert len({found.digest for found in [key(), *others]}) == 6
    first, second = (
        SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=n, id=n) for n in (1, 2)
    )
    assert (
        TaskKey.of({"ti": first}, durable=True).digest
        == TaskKey.of({"ti": second}, durable=True).digest
        == key().digest
    )
    assert TaskKey.of({"ti": first}, durable=False).digest != TaskKey.of({"ti": first}, durable=False).digest


def test_a_person_finds_the_task_by_its_tags():
    tags = key(run_id="manual__2026-11-20T00:00:00+00:00" + "x" * 300, map_index=3).readable_tags()
    assert tags["airflow_dag_id"] == "d"
    assert tags["airflow_task_id"] == "t"
    assert tags["airflow_map_index"] == "3"
    assert tags["airflow_run_id"].startswith("manual__2026-11-20")
    assert max(len(value) for value in tags.values()) <= 256
    assert "airflow_map_index" not in key().readable_tags()


# -- against Kumo --------------------------------------------------------------------------------


@pytest.fixture
def pauses(monkeypatch):
    """Let pauses pass at once."""
    taken = []
    fake = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(taken), sleep=taken.append, time=time.time)
    monkeypatch.setattr(sync, "time", fake)
    monkeypatch.setattr(submission_module, "time", fake)
    return taken


@pytest.fixture
def kumo(kumo_emulator, pauses):
    kumo_emulator.hold()
    return kumo_emulator


@pytest.fixture
def client(kumo):
    config = KumoConfig(base_url=kumo.url, secret=kumo.api_key)
    with sync.KumoClient(lambda: config, log=LOG) as client:
        yield client


def wanted(*, task: TaskKey | None = None, **arguments) -> Submission:
    arguments = {"pquery_id": "churn_30d", **arguments}
    return Submission(
        kind=T,
        key=task or key(),
        arguments=arguments,
        build=lambda tags: calls.create_training_job({**training_request(**arguments), "job_tags": dict(tags)}),
    )


def started(kumo) -> list[str]:
    return [found.id for found in kumo.jobs("training") if found.started_by != "past"]


def submit(client, **arguments):
    return Submitter(client, wanted(**arguments), durable=True, log=LOG).find_or_submit()


def test_the_first_try_starts_a_job_that_carries_the_tasks_tags(client, kumo):
    found, new = submit(client)
    assert new is True
    assert started(kumo) == [found.id]
    tags = kumo.job(found.id).tags
    assert tags[TASK_KEY_TAG] == key().digest
    assert tags[REQUEST_TAG] == wanted().fingerprint
    assert tags["airflow_dag_id"] == "d"
    assert DELIVERED_TAG not in tags


def test_a_retry_goes_on_with_the_job_of_the_try_before(client, kumo):
    first, _ = submit(client)
    again, new = submit(client)
    assert (again.id, new) == (first.id, False)
    assert started(kumo) == [first.id]


def test_another_task_instance_has_a_job_of_its_own(client, kumo):
    first, _ = submit(client)
    other, new = submit(client, task=key(map_index=1))
    assert new is True
    assert started(kumo) == [first.id, other.id]


def test_a_result_that_nobody_has_taken_is_adopted(client, kumo):
    first, _ = submit(client)
    kumo.finish(first.id)
    again, new = submit(client)
    assert (again.id, again.status, new) == (first.id, "DONE", False)
    assert started(kumo) == [first.id]


def test_a_cleared_task_starts_anew_after_its_result_was_delivered(client, kumo):
    first, _ = submit(client)
    kumo.finish(first.id)
    mark_delivered(client, first, log=LOG)
    again, new = submit(client)
    assert new is True
    assert started(kumo) == [first.id, again.id]


@pytest.mark.parametrize("how", ["failed", "cancelled in Kumo", "cancelled by us", "vanished"])
def test_a_job_that_ended_badly_is_followed_by_a_new_one(client, kumo, how):
    first, _ = submit(client)
    if how == "failed":
        kumo.fail(first.id)
    elif how == "vanished":
        kumo.vanish(first.id)
    elif how == "cancelled by us":
        cancel(client, first, log=LOG)
        assert kumo.job(first.id).tags[CANCEL_TAG]
    else:
        kumo.cancel(first.id)
        kumo.wait_for(lambda: kumo.job(first.id).status == "CANCELLED")
    again, new = submit(client)
    assert new is True
    assert started(kumo) == [first.id, again.id]


def test_a_changed_request_cancels_the_job_that_nobody_wants_any_more(client, kumo):
    first, _ = submit(client)
    second, new = submit(client, model_plan={"training_job": {"num_experiments": 1}})
    assert new is True
    assert started(kumo) == [first.id, second.id]
    kumo.wait_for(lambda: kumo.job(first.id).status == "CANCELLED")
    assert kumo.job(second.id).cancelled_by is None


def test_of_two_jobs_that_were_started_at_once_the_oldest_is_kept(client, kumo):
    one = client.send(wanted().build(wanted().tags))
    two = client.send(wanted().build(wanted().tags))
    found, new = submit(client)
    assert (found.id, new) == (one, False)
    kumo.wait_for(lambda: kumo.job(two).status == "CANCELLED")
    assert kumo.job(one).cancelled_by is None


def test_a_job_that_another_process_starts_at_the_same_time_wins_if_it_is_older(client, kumo):
    rival = []

    def build(tags):
        rival.append(client.send(wanted().build(tags)))
        return wanted().build(tags)

    racing = Submission(kind=T, key=key(), arguments=wanted().arguments, build=build)
    found, _ = Submitter(client, racing, durable=True, log=LOG).find_or_submit()
    assert found.id == rival[0]
    late = started(kumo)[1]
    kumo.wait_for(lambda: kumo.job(late).status == "CANCELLED")


@pytest.mark.parametrize("fault", ["drop_after", "cut_json"])
def test_an_answer_that_was_lost_after_the_job_was_started_starts_no_second(client, kumo, fault, caplog):
    kumo.inject(fault, method="POST", path="training_jobs$")
    with caplog.at_level(logging.WARNING):
        found, new = submit(client)
    assert new is True
    assert started(kumo) == [found.id]
    assert "The job may have been started all the same; looking for it." in caplog.text


@pytest.mark.parametrize("fault", ["drop_before", "html"])
def test_an_answer_that_was_lost_before_the_job_was_started_is_followed_by_another_try(client, kumo, fault, pauses):
    kumo.inject(fault, method="POST", path="training_jobs$", count=2)
    found, new = submit(client)
    assert new is True
    assert started(kumo) == [found.id]
    assert len(pauses) >= 2


def test_answers_that_are_lost_again_and_again_are_an_error_that_names_the_tag(client, kumo):
    kumo.inject("drop_before", method="POST", path="training_jobs$", count=None)
    with pytest.raises(KumoSubmissionUnknownError, match=f"{TASK_KEY_TAG}={key().digest}"):
        submit(client)
    assert started(kumo) == []


def test_without_durability_a_lost_answer_still_starts_no_second_job(client, kumo):
    kumo.inject("drop_after", method="POST", path="training_jobs$")
    found, new = Submitter(client, wanted(), durable=False, log=LOG).find_or_submit()
    assert new is True
    assert started(kumo) == [found.id]


def test_a_full_queue_is_waited_for(client, kumo, pauses):
    kumo.inject("status", status=429, headers={"Retry-After": "30"}, method="POST", count=2)
    submit(client)
    assert pauses == [30, 30]
    assert len(started(kumo)) == 1


def test_without_durability_every_try_starts_a_job(client, kumo):
    first, _ = submit(client)
    second, new = Submitter(client, wanted(), durable=False, log=LOG).find_or_submit()
    assert new is True
    assert started(kumo) == [first.id, second.id]
    assert kumo.job(first.id).cancelled_by is None


def test_a_refused_request_is_an_error_at_once(client, kumo, pauses):
    with pytest.raises(KumoRequestRefusedError, match="does not exist"):
        submit(client, pquery_id="no_such_query")
    assert pauses == []


def test_a_new_job_that_shows_up_late_is_waited_for(client, kumo, pauses):
    kumo.inject("status", status=200, body="[]", method="GET", path="training_jobs$", count=2)
    kumo.inject("status", status=404, method="GET", path="training_jobs/trainingjob-", count=3)
    found, new = submit(client)
    assert (found.id, new) == (started(kumo)[0], True)
    assert len(pauses) == 3


def test_a_server_that_ignores_the_filter_does_not_hand_over_the_jobs_of_others(client, kumo):
    other, _ = submit(client, task=key(task_id="other"))
    everything = "[" + ",".join(_raw(kumo, other.id)) + "]"
    kumo.inject("status", status=200, body=everything, method="GET", path="training_jobs$", count=1)
    found, new = submit(client)
    assert new is True
    assert found.id != other.id
    assert kumo.job(other.id).cancelled_by is None


def _raw(kumo, job_id: str) -> list[str]:
    import requests

    answer = requests.get(
        f"{kumo.url}/v1/training_jobs/{job_id}", headers={"X-API-Key": kumo.api_key}, timeout=5, allow_redirects=False
    )
    return [answer.text]


# -- side notes ----------------------------------------------------------------------------------


def test_a_cancel_is_asked_for_written_down_and_told(client, kumo, caplog):
    found, _ = submit(client)
    with caplog.at_level(logging.INFO):
        cancel(client, found, log=LOG)
    kumo.wait_for(lambda: kumo.job(found.id).status == "CANCELLED")
    assert kumo.job(found.id).tags[CANCEL_TAG]
    assert f"Asked Kumo to cancel training job {found.id}, see {kumo.origin}" in caplog.text
    with caplog.at_level(logging.INFO):
        cancel(client, found, log=LOG)
    assert f"Training job {found.id} has already ended." in caplog.text


def test_a_cancel_that_fails_is_told_with_the_link_and_not_raised(client, kumo, caplog):
    found, _ = submit(client)
    kumo.inject("html", count=None)
    cancel(client, found, log=LOG)
    assert f"{found.id} may still be running in Kumo, see {found.tracking_url}" in caplog.text


def test_a_cancel_is_asked_for_even_if_it_cannot_be_written_down(client, kumo):
    found, _ = submit(client)
    kumo.inject("status", status=422, method="PATCH", count=None)
    cancel(client, found, log=LOG)
    kumo.wait_for(lambda: kumo.job(found.id).status == "CANCELLED")


def test_a_delivery_that_cannot_be_written_down_does_not_fail_the_task(client, kumo, caplog):
    found, _ = submit(client)
    kumo.inject("status", status=403, method="PATCH", count=None)
    mark_delivered(client, found, log=LOG)
    assert DELIVERED_TAG in caplog.text
    assert found.id in caplog.text


@pytest.mark.parametrize(
    ("number", "tries", "job"),
    [
        pytest.param(2, 3, "old", id="the try that took it was killed before Airflow had it"),
        pytest.param(3, 3, "old", id="so was the one before"),
        pytest.param(1, 3, None, id="the same run once more, such as another dags test"),
        pytest.param(2, 4, None, id="cleared"),
    ],
)
@pytest.mark.parametrize("status", ["DONE", "RUNNING"])
def test_a_result_reached_nobody_if_the_try_that_took_it_is_followed_by_another(number, tries, job, status):
    tags = {REQUEST_TAG: "same", DELIVERED_TAG: f"2026-11-20T00:00:00+00:00, {Attempt(number=1, tries=3)}"}
    old = Job(id="old", kind=T, status=status, tags=tags)
    taken = decide([old], "same", Attempt(number=number, tries=tries)).take
    assert (taken and taken.id) == job


def test_a_delivery_that_names_no_try_counts_as_one():
    old = Job(id="old", kind=T, status="DONE", tags={REQUEST_TAG: "same", DELIVERED_TAG: "2026-11-20T00:00:00+00:00"})
    assert decide([old], "same", Attempt(number=2, tries=3)).take is None


@pytest.mark.parametrize(
    ("status", "number", "tries", "taken"),
    [
        ("RUNNING", 2, 3, True),  # a retry
        ("RUNNING", 1, 3, True),  # Airflow has run the same try twice
        ("RUNNING", 2, 4, False),  # cleared while it was deferred
        ("RUNNING", 3, 4, False),  # and then tried again
        ("DONE", 2, 4, True),  # cleared, and its result is there
    ],
)
def test_a_job_that_runs_since_before_a_clear_is_cancelled_and_not_taken(status, number, tries, taken):
    running = Job(id="a", kind=T, status=status, tags={REQUEST_TAG: "same", TRY_TAG: "try 1 of 3"})
    decision = decide([running], "same", Attempt(number=number, tries=tries))
    assert (decision.take is running, decision.cancel) == (taken, () if taken else (running,))
    assert ("cleared" in decision.why) is not taken
