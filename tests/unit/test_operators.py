"""What operators and the sensor refuse, what they ask of Kumo, and how they wait; Airflow's task context is a stub."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import airflow
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_kumo.client.errors import (
    KumoAuthenticationError,
    KumoJobAbandonedError,
    KumoJobFailedError,
    KumoJobTimeoutError,
    KumoJobVanishedError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.policy import ONE_TRY
from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoCancelJobOperator, KumoRetrainOperator
from airflow_provider_kumo.outputs import bigquery, s3, snowflake
from airflow_provider_kumo.sensors.kumo import KumoJobSensor
from airflow_provider_kumo.triggers.kumo import KumoJobTrigger

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.local import LocalKumo


class TaskInstanceStub:
    """A task instance that keeps what is pushed."""

    def __init__(self, try_number: int = 1, tries: int = 1) -> None:
        self.dag_id, self.run_id, self.task_id, self.map_index = "dag", "run", "task", -1
        self.try_number, self.max_tries = try_number, tries - 1
        self.start_date = datetime.now(UTC)
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        return self.xcoms.get(key)


def context(ti: TaskInstanceStub | None = None) -> Any:
    return {"ti": ti or TaskInstanceStub()}


def retrain(**arguments: Any) -> KumoRetrainOperator:
    return KumoRetrainOperator(task_id="retrain", **{"pquery_id": "churn_30d", **arguments})


def predict(**arguments: Any) -> KumoBatchPredictOperator:
    return KumoBatchPredictOperator(task_id="predict", **arguments)


def operator_jobs(kumo: LocalKumo) -> list[Any]:
    """Return the jobs that an operator has started."""
    return [job for job in kumo.jobs() if "airflow_task_key" in job.tags]


def event_of(deferred: TaskDeferred) -> dict[str, Any]:
    """Run a deferred task's trigger as the triggerer would: from its serialized form, to its one event."""

    async def run() -> dict[str, Any]:
        path, kwargs = deferred.trigger.serialize()
        assert path == f"{KumoJobTrigger.__module__}.{KumoJobTrigger.__name__}"
        events = [event async for event in KumoJobTrigger(**json.loads(json.dumps(kwargs))).run()]
        assert len(events) == 1
        return json.loads(json.dumps(events[0].payload))

    return asyncio.run(run())


async def _kill(trigger: KumoJobTrigger) -> None:
    """End a trigger as Airflow 3.3 does when a person has ended its task: on_kill is cancelled every second."""
    with mock.patch("airflow_provider_kumo.triggers.kumo.is_still_deferred", return_value=False):
        killing = asyncio.create_task(trigger.on_kill())
        await asyncio.sleep(0)
        killing.cancel("__airflow_user_action__")
        with pytest.raises(asyncio.CancelledError):
            await killing
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: retrain(pquery_id=""), "pquery_id: got ''"),
        (lambda: retrain(pquery_id=" churn"), "pquery_id: got ' churn'"),
        (lambda: retrain(pquery_id=None), "pquery_id: got None"),
        (lambda: retrain(model_plan="fast"), "model_plan: got 'fast'"),
        (lambda: retrain(model_plan={"a": {1, 2}}), "model_plan: got"),
        (lambda: retrain(refresh_snapshot=True, graph_snapshot_id="g@1"), "graph_snapshot_id cannot be given too"),
        (lambda: retrain(warm_start_job_id=""), "warm_start_job_id: got ''"),
        (lambda: retrain(poll_interval=-1), "poll_interval: got -1"),
        (lambda: retrain(poll_interval=timedelta(0)), "poll_interval: got 0"),
        (lambda: retrain(timeout=0), "timeout: got 0"),
        (lambda: retrain(poll_interval=0.0001), "poll_interval: got 0.0001"),
        (lambda: retrain(refresh_snapshot="no"), "refresh_snapshot: got 'no'"),
        (lambda: retrain(wait_for_completion="no"), "wait_for_completion: got 'no'"),
        (lambda: retrain(deferrable="yes"), "deferrable: got 'yes'"),
        (lambda: retrain(durable=1), "durable: got 1"),
        (lambda: retrain(cancel_on_kill=None), "cancel_on_kill: got None"),
        (lambda: retrain(if_cancelled="retry"), "if_cancelled: got 'retry'"),
        (lambda: retrain(pquery_id="None"), "if it is a template, that has rendered nothing"),
        (lambda: KumoJobSensor(task_id="wait", job_id="bp-job-1", deferrable="no"), "deferrable: got 'no'"),
        (lambda: KumoJobSensor(task_id="wait", job_id="bp-job-1", job_kind="training"), "is a batch prediction job"),
        (lambda: retrain(timeout=None), "timeout: got None"),
        (lambda: retrain(job_tags={"k" * 65: "v"}), "1 to 64"),
        (lambda: retrain(job_tags={"key": "v" * 257}), "at most 256"),
        (lambda: retrain(job_tags={"bad key": "v"}), "job_tags key 'bad key'"),
        (lambda: retrain(job_tags={"limit": "v"}), "filter lists"),
        (lambda: retrain(job_tags={"airflow_task_key": "v"}), "belong to this provider"),
        (lambda: retrain(job_tags={"key": "none"}), "remove this tag"),
        (lambda: predict(), "either training_job_id or pquery_id"),
        (lambda: predict(pquery_id="a", training_job_id="b"), "either training_job_id or pquery_id"),
        (lambda: predict(pquery_id="a", prediction_time="tomorrow"), "prediction_time: got 'tomorrow'"),
        (lambda: predict(pquery_id="a", binary_classification_threshold=2), "binary_classification_threshold: got 2"),
        (lambda: predict(pquery_id="a", num_workers=0), "num_workers: got 0"),
        (lambda: predict(pquery_id="a", num_classes_to_return=1.5), "num_classes_to_return: got 1.5"),
        (lambda: predict(pquery_id="a", explanations="maybe"), "explanations: got 'maybe'"),
        (lambda: predict(pquery_id="a", outputs={"storage_type": "S3"}), "outputs: got"),
        (lambda: predict(pquery_id="a", outputs=[{"storage_type": "FTP"}]), "outputs[0].storage_type: got 'FTP'"),
        (lambda: predict(pquery_id="a", outputs=[s3(file_path="")]), "outputs[0].file_path: got ''"),
        (
            lambda: predict(pquery_id="a", outputs=[snowflake(connector_id="", table_name="T")]),
            "outputs[0].connector_id: got ''",
        ),
        (
            lambda: predict(pquery_id="a", outputs=[bigquery(connector_id="c", table_name="t", write_mode="REPLACE")]),
            "outputs[0].write_mode: got 'REPLACE'",
        ),
        (
            lambda: predict(pquery_id="a", outputs=[s3(file_path="s3://b/x", artifact_type="LABELS")]),
            "outputs[0].artifact_type: got 'LABELS'",
        ),
        (
            lambda: predict(
                pquery_id="a", outputs=[{"storage_type": "S3", "artifact_type": "PREDICTIONS", "path": "s3://b"}]
            ),
            "S3 takes no 'path'",
        ),
        (lambda: KumoCancelJobOperator(task_id="cancel", job_id=""), "job_id: got ''"),
        (lambda: KumoCancelJobOperator(task_id="cancel", job_id="j-1"), "starts with neither"),
        (lambda: KumoCancelJobOperator(task_id="cancel", job_id="trainingjob-\n1"), r"job_id: got 'trainingjob-\n1'"),
        (lambda: KumoJobSensor(task_id="wait", job_id=" trainingjob-1"), "without line breaks or outer spaces"),
        (lambda: KumoJobSensor(task_id="wait", job_id="trainingjob-"), "it must be the id of a job in Kumo"),
        (lambda: KumoJobSensor(task_id="wait", job_id="bp-job-1", kumo_conn_id=""), "kumo_conn_id: got ''"),
        (lambda: retrain(kumo_conn_id=None), "kumo_conn_id: got None"),
        (lambda: KumoJobSensor(task_id="wait", job_id="j-1", job_kind="tuning"), "job_kind: got 'tuning'"),
        (lambda: KumoJobSensor(task_id="wait", job_id="bp-job-1", poll_interval="soon"), "poll_interval: got 'soon'"),
    ],
)
def test_a_wrong_argument_is_named_while_the_dag_is_parsed(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_templates_are_left_for_the_task_to_check() -> None:
    predict(pquery_id="{{ params.query }}", prediction_time="{{ data_interval_end }}", num_workers="{{ params.n }}")
    retrain(job_tags={"day": "{{ ds }}"}, model_plan={"training_job": {"num_experiments": "{{ params.n }}"}})


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ({}, "it has no API key"),
        ({"password": "a b"}, "no API key has"),
        ({"password": "key\n"}, "no API key has"),
        ({"password": "plain"}, "Name the host"),
        ({"password": "c:s", "host": "what ever"}, "is no host or URL"),
        ({"password": "c:s", "host": "ftp://kumo"}, "no http(s) URL"),
        ({"password": "c:s", "host": "http://kumo.example.com"}, "unencrypted"),
        ({"password": "c:s", "extra": {"read_timeout": -1}}, "read_timeout is -1"),
        ({"password": "c:s", "extra": {"poll_interval": True}}, "poll_interval is True"),
        (
            {"password": "c:s", "extra": {"poll_interval": 0.01}},
            "is 0.01; it must be at least 0.1 seconds",
        ),
        ({"password": "c:s", "extra": {"group_id": ["g1"]}}, "group_id is ['g1']"),
        pytest.param(
            {"password": "c:s", "extra": "[1]"},
            "its extra is [1]; it must be a JSON object",
            marks=pytest.mark.skipif(
                airflow.__version__.startswith(("3.0.", "3.1.")), reason="Airflow 3.0 and 3.1 find no connection then"
            ),
        ),
    ],
)
def test_a_wrong_connection_fails_the_task_for_good(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", json.dumps({"conn_type": "kumo", **connection}))
    with pytest.raises(AirflowFailException) as caught:
        retrain().execute(context())
    assert said in str(caught.value)
    assert "kumo_default" in str(caught.value)


def test_every_mode_returns_the_same(kumo_emulator: LocalKumo) -> None:
    blocking = retrain(deferrable=False).execute(context())
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    resumed = retrain().execute_complete(context(), event_of(deferred.value))
    assert list(blocking) == list(resumed)
    assert blocking["metrics"].keys() == resumed["metrics"].keys()
    assert {type(v) for v in blocking.values()} == {type(v) for v in resumed.values()}


def test_a_further_try_goes_on_with_the_running_job(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    first, second = TaskInstanceStub(), TaskInstanceStub(try_number=2)
    for ti in (first, second):
        with pytest.raises(TaskDeferred):
            retrain(deferrable=True).execute(context(ti))
    assert first.xcoms == second.xcoms


def test_a_result_that_nobody_took_is_adopted_and_one_that_was_taken_is_not(kumo_emulator: LocalKumo) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    event_of(deferred.value)
    adopted = retrain(deferrable=True).execute(context())
    assert adopted["job_id"] == deferred.value.trigger.job_id
    with pytest.raises(TaskDeferred) as anew:
        retrain(deferrable=True).execute(context())
    assert anew.value.trigger.job_id != adopted["job_id"]


@pytest.fixture
def late_deferrals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defer however little time is left."""
    monkeypatch.setattr("airflow_provider_kumo.operators.kumo._TOO_SHORT_TO_DEFER", 0.0)


def test_a_job_whose_time_is_as_good_as_up_is_not_deferred(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(KumoJobTimeoutError, match="has not ended within"):
        retrain(deferrable=True, timeout=0.5).execute(context())
    (job,) = (job for job in kumo_emulator.jobs("training") if job.held)
    assert job.cancelled_by is not None


@pytest.mark.usefixtures("late_deferrals")
def test_a_job_that_takes_too_long_is_cancelled(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    deferred.value.trigger.deadline = time.time() + 0.3
    event = event_of(deferred.value)
    assert event["outcome"] == "timed_out"
    with pytest.raises(KumoJobTimeoutError, match="has not ended within"):
        retrain().execute_complete(context(), event)
    assert kumo_emulator.job(deferred.value.trigger.job_id).cancelled_by is not None


def test_a_deadline_that_is_near_is_waited_for_on_the_worker(kumo_emulator: LocalKumo) -> None:
    """A trigger that fires at once may overtake the end of the worker's process, and Airflow then fails the task."""
    kumo_emulator.hold(kind="training")
    with pytest.raises(KumoJobTimeoutError, match="has not ended within"):
        retrain(deferrable=True, timeout=0.5).execute(context())
    assert all(job.cancelled_by is not None for job in operator_jobs(kumo_emulator))


class NoXComs(TaskInstanceStub):
    """A task instance with trouble of Airflow's own, right after the job was started."""

    def xcom_push(self, key: str, value: Any) -> None:
        raise ValueError("Airflow's own trouble")


def left_to_itself(kumo: LocalKumo) -> bool:
    """Tell whether the only job of an operator is still running, and nobody has asked to cancel it."""
    (job,) = operator_jobs(kumo)
    return job.cancelled_by is None


@pytest.mark.parametrize(
    ("tries", "options", "goes_on"),
    [
        (2, {}, True),
        (1, {}, False),
        # No further try would find it.
        (2, {"durable": False}, False),
        (1, {"cancel_on_kill": False}, True),
    ],
)
def test_what_breaks_in_airflow_after_the_job_was_started_leaves_it_only_to_a_further_try(
    kumo_emulator: LocalKumo, tries: int, options: dict[str, Any], goes_on: bool
) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(ValueError, match="own trouble"):
        retrain(deferrable=True, **options).execute(context(NoXComs(tries=tries)))
    assert left_to_itself(kumo_emulator) is goes_on


def test_execution_timeout_bounds_a_deferred_task_too(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True, execution_timeout=timedelta(seconds=60)).execute(context())
    left = deferred.value.trigger.deadline - datetime.now(UTC).timestamp()
    assert 50 < left <= 60


def test_killing_the_workers_task_cancels_its_job(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    operator = retrain(wait_for_completion=False)
    job_id = operator.execute(context())["job_id"]
    operator.on_kill()
    assert kumo_emulator.job(job_id).cancelled_by is not None


@pytest.mark.parametrize("fault", ["before the submission", "between submission and answer"])
def test_killing_the_workers_task_while_it_submits_leaves_no_job(
    kumo_emulator: LocalKumo, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Airflow 3 calls on_kill from a signal handler and then lets the task go on for five seconds."""
    kumo_emulator.hold(kind="training")
    operator = retrain(deferrable=True)
    ours = operator_jobs(kumo_emulator)
    if fault == "before the submission":
        # The first request looks for a job of an earlier try, the second for a plan to copy.
        kumo_emulator.inject("latency", method="GET", path="/training_jobs$", after=1, seconds=0.5)
        moment = lambda: len(kumo_emulator.requests) == 1  # noqa: E731
    else:
        # The job is created, and its answer is on its way for a while.
        kumo_emulator.inject("trickle", method="POST", path="/training_jobs$", seconds=0.02)
        moment = lambda: len(operator_jobs(kumo_emulator)) > len(ours)  # noqa: E731
    killer = threading.Thread(target=lambda: (kumo_emulator.wait_for(moment), os.kill(os.getpid(), signal.SIGUSR1)))
    previous = signal.signal(signal.SIGUSR1, lambda *_: operator.on_kill())
    try:
        killer.start()
        with pytest.raises(KumoJobAbandonedError):
            operator.execute(context())
    finally:
        killer.join()
        signal.signal(signal.SIGUSR1, previous)
    started = operator_jobs(kumo_emulator)
    assert all(job.cancelled_by is not None for job in started)
    assert len(started) == (0 if fault == "before the submission" else 1)


def test_a_job_that_the_provider_itself_has_cancelled_is_started_anew(kumo_emulator: LocalKumo) -> None:
    """As after Clear, when the new try takes the job up before the old trigger cancels it."""
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    killed = deferred.value.trigger
    killed.task_instance = SimpleNamespace(task_id="task")
    asyncio.run(_kill(killed))
    event = event_of(deferred.value)
    assert event["job"]["status"] == "CANCELLED"
    with pytest.raises(TaskDeferred) as anew:
        retrain(deferrable=True).execute_complete(context(), event)
    assert anew.value.trigger.job_id != killed.job_id


def test_a_person_who_cancels_in_kumo_may_skip_the_task(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    kumo_emulator.cancel(deferred.value.trigger.job_id)
    event = event_of(deferred.value)
    with pytest.raises(AirflowSkipException, match="was cancelled in Kumo"):
        retrain(if_cancelled="skip").execute_complete(context(), event)
    with pytest.raises(AirflowFailException, match="KumoJobCancelledError"):
        retrain().execute_complete(context(), event)


@pytest.mark.usefixtures("late_deferrals")
def test_a_job_that_is_done_when_its_deadline_passes_is_a_success(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    deferred.value.trigger.deadline = time.time() + 0.3
    event = event_of(deferred.value)
    assert event["outcome"] == "timed_out"
    kumo_emulator.finish(deferred.value.trigger.job_id)
    assert retrain().execute_complete(context(), event)["status"] == "DONE"


@pytest.mark.usefixtures("late_deferrals")
def test_a_job_that_is_not_to_be_cancelled_may_be_done_when_its_deadline_passes(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True, cancel_on_kill=False).execute(context())
    deferred.value.trigger.deadline = time.time() + 0.3
    event = event_of(deferred.value)
    assert event["outcome"] == "timed_out"
    with pytest.raises(KumoJobTimeoutError, match="has not ended within"):
        retrain(cancel_on_kill=False).execute_complete(context(), event)
    assert left_to_itself(kumo_emulator)
    kumo_emulator.finish(deferred.value.trigger.job_id)
    assert retrain(cancel_on_kill=False).execute_complete(context(), event)["status"] == "DONE"


def test_cancel_on_kill_false_lets_the_job_run(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    operator = retrain(wait_for_completion=False, cancel_on_kill=False)
    job_id = operator.execute(context())["job_id"]
    operator.on_kill()
    assert kumo_emulator.job(job_id).cancelled_by is None


def test_a_failed_job_may_be_tried_again_and_a_vanished_one_too(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.fail_next("training", title="No data", message="Table is empty")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    with pytest.raises(KumoJobFailedError, match=r"No data\. Table is empty\."):
        retrain().execute_complete(context(), event_of(deferred.value))
    gone = {"version": 1, "outcome": "gave_up", "job_id": "trainingjob-1"}
    with pytest.raises(KumoJobVanishedError, match="no more"):
        retrain().execute_complete(
            context(), {**gone, "error_class": "KumoJobVanishedError", "error": "It is no more."}
        )


@pytest.mark.parametrize(("tries", "goes_on"), [(2, True), (1, False)])
def test_a_key_that_was_refused_while_waiting_is_worth_another_try(
    kumo_emulator: LocalKumo, tries: int, goes_on: bool
) -> None:
    kumo_emulator.hold(kind="training")
    ti = TaskInstanceStub(tries=tries)
    with pytest.raises(TaskDeferred):
        retrain(deferrable=True).execute(context(ti))
    lost = {"version": 1, "outcome": "gave_up", "job_id": ti.xcoms["job_id"]}
    with pytest.raises(KumoAuthenticationError, match="HTTP 401"):
        retrain().execute_complete(context(ti), {**lost, "error_class": "KumoAuthenticationError", "error": "HTTP 401"})
    assert left_to_itself(kumo_emulator) is goes_on


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait out no trouble with a look at a job."""
    monkeypatch.setattr("airflow_provider_kumo.client.watch._BUDGETS", ONE_TRY)


@pytest.mark.usefixtures("impatient")
def test_a_key_that_is_refused_while_the_worker_waits_is_worth_another_try(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    kumo_emulator.inject("status", status=401, method="GET", path=r"/training_jobs/[^/]+$", count=None)
    with pytest.raises(KumoAuthenticationError):
        retrain(deferrable=False, poll_interval=0.1).execute(context(TaskInstanceStub(tries=2)))
    assert left_to_itself(kumo_emulator)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every pause of a worker pass at once."""
    taken: list[float] = []
    clock = SimpleNamespace(
        time=lambda: time.time() + sum(taken), monotonic=lambda: time.monotonic() + sum(taken), sleep=taken.append
    )
    for module in ("client.sync", "client.waiting", "operators.kumo", "submission"):
        monkeypatch.setattr(f"airflow_provider_kumo.{module}.time", clock)


@pytest.mark.usefixtures("no_pauses")
def test_a_deadline_that_passes_in_an_outage_is_kept_and_the_job_named_with_its_link(
    kumo_emulator: LocalKumo,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Before Airflow 3 a task's log goes through the standard library, and stays with its own handlers.
    monkeypatch.setattr(logging.getLogger("airflow.task"), "propagate", True)
    kumo_emulator.hold(kind="training")
    kumo_emulator.inject("status", status=503, path=r"/training_jobs/", count=None)
    with pytest.raises(KumoJobTimeoutError, match="has not ended within"):
        retrain(deferrable=False, timeout=300).execute(context())
    (job,) = operator_jobs(kumo_emulator)
    # Airflow 2 writes into both, Airflow 3 into one.
    told = [text for text in (capsys.readouterr().out, caplog.text) if job.id in text]
    assert told
    for text in told:
        assert f"{job.id} may still be running in Kumo, see {kumo_emulator.origin}/jobs/{job.id}" in text
        assert text.count("Trying again for a while.") == 1


@pytest.mark.usefixtures("late_deferrals")
def test_a_trigger_keeps_its_deadline_in_an_outage(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True, poll_interval=0.1).execute(context())
    deferred.value.trigger.deadline = time.time() + 0.6
    kumo_emulator.inject("status", status=503, method="GET", path=r"/training_jobs/", count=None, after=1)
    event = event_of(deferred.value)
    assert (event["outcome"], event["job"]["job_id"]) == ("timed_out", deferred.value.trigger.job_id)


# -- a trigger that brings no event ---------------------------------------------------------------

BROKEN = ("__fail__", {"error": "Trigger failure", "traceback": ["ImportError: no module"]})
TOO_LATE = ("__fail__", {"error": "Trigger timeout"})


@pytest.fixture
def waiting(kumo_emulator: LocalKumo) -> TaskInstanceStub:
    """A task instance with a further try, whose job runs until it is told to end."""
    kumo_emulator.hold(kind="training")
    ti = TaskInstanceStub(tries=2)
    with pytest.raises(TaskDeferred):
        retrain(deferrable=True).execute(context(ti))
    return ti


def test_a_result_is_taken_even_if_the_trigger_broke(kumo_emulator: LocalKumo, waiting: TaskInstanceStub) -> None:
    kumo_emulator.finish(waiting.xcoms["job_id"])
    result = retrain().resume_execution(*BROKEN, context(waiting))
    assert (result["job_id"], result["status"]) == (waiting.xcoms["job_id"], "DONE")


def test_a_broken_trigger_leaves_its_job_to_a_further_try(kumo_emulator: LocalKumo, waiting: TaskInstanceStub) -> None:
    with pytest.raises(AirflowException, match="Trigger failure"):
        retrain().resume_execution(*BROKEN, context(waiting))
    assert left_to_itself(kumo_emulator)
    waiting.try_number = 2
    with pytest.raises(AirflowException, match="Trigger failure"):
        retrain().resume_execution(*BROKEN, context(waiting))
    assert not left_to_itself(kumo_emulator)


def test_airflows_own_timeout_of_a_deferral_cancels_the_job_too(
    kumo_emulator: LocalKumo, waiting: TaskInstanceStub
) -> None:
    with pytest.raises(KumoJobTimeoutError, match="has not ended within"):
        retrain(timeout=0.001).resume_execution(*TOO_LATE, context(waiting))
    assert not left_to_itself(kumo_emulator)


def test_a_resumption_with_an_event_is_airflows_own(kumo_emulator: LocalKumo, waiting: TaskInstanceStub) -> None:
    event = {"version": 1, "outcome": "gave_up", "job_id": waiting.xcoms["job_id"]}
    told = {**event, "error_class": "KumoUnavailableError", "error": "It was away."}
    with pytest.raises(KumoUnavailableError, match="It was away"):
        retrain().resume_execution("execute_complete", {"event": told}, context(waiting))
    assert left_to_itself(kumo_emulator)


def test_where_airflow_repeats_the_event_of_a_try_that_failed_the_next_one_begins(
    kumo_emulator: LocalKumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_kumo.resumption.AIRFLOW_REPEATS_EVENTS", True)
    kumo_emulator.hold(kind="training", count=2)
    ti = TaskInstanceStub(tries=2)
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context(ti))
    gone = ti.xcoms["job_id"]
    kumo_emulator.vanish(gone)
    event = {"version": 1, "outcome": "gave_up", "job_id": gone}
    event |= {"error_class": "KumoJobVanishedError", "error": "Kumo has it no more."}
    repeated = {**(deferred.value.kwargs or {}), "event": event}
    with pytest.raises(KumoJobVanishedError):
        retrain().resume_execution("execute_complete", repeated, context(ti))
    ti.try_number = 2
    with pytest.raises(TaskDeferred):
        retrain(deferrable=True).resume_execution("execute_complete", repeated, context(ti))
    assert ti.xcoms["job_id"] != gone


def test_where_airflow_repeats_the_event_of_a_try_that_failed_the_sensor_looks_again(
    kumo_emulator: LocalKumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_kumo.resumption.AIRFLOW_REPEATS_EVENTS", True)
    job = kumo_emulator.jobs("training")[0]
    event = {"version": 1, "outcome": "gave_up", "job_id": job.id}
    event |= {"error_class": "KumoUnavailableError", "error": "It was away."}
    wait = KumoJobSensor(task_id="wait", job_id=job.id, deferrable=True)
    repeated = {"deferred_in_try": 1, "event": event}
    with pytest.raises(KumoUnavailableError):
        wait.resume_execution("execute_complete", repeated, context())
    result = wait.resume_execution("execute_complete", repeated, context(TaskInstanceStub(try_number=2, tries=2)))
    assert result["status"] == "DONE"


@pytest.mark.skipif(AIRFLOW_V_3_0_PLUS, reason="Airflow 2 alone applies execution_timeout to a task that comes back")
@pytest.mark.parametrize("late", [True, False])
def test_a_task_that_comes_back_after_its_execution_timeout_cancels_its_job(
    kumo_emulator: LocalKumo, waiting: TaskInstanceStub, late: bool
) -> None:
    from airflow.models.taskinstance import set_current_context

    retrain(execution_timeout=timedelta(seconds=30)).on_kill()
    assert left_to_itself(kumo_emulator), "without a context it has not begun"
    waiting.next_method = "execute_complete"
    waiting.start_date -= timedelta(seconds=60 if late else 0)
    with set_current_context(context(waiting)):
        retrain(execution_timeout=timedelta(seconds=30)).on_kill()
    assert left_to_itself(kumo_emulator) is not late


@pytest.mark.kumo_emulator(rbac=True)
def test_an_object_store_needs_a_connector_when_access_control_is_on(kumo_emulator: LocalKumo) -> None:
    with pytest.raises(AirflowFailException, match=r"outputs\[0\].connector_id: Kumo requires a connector for S3"):
        predict(pquery_id="churn_30d", outputs=[s3(file_path="s3://b/x")]).execute(context())


def test_a_host_without_its_path_is_told_as_such(kumo_emulator: LocalKumo, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {**kumo_emulator.connection, "host": kumo_emulator.origin}
    monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", json.dumps(connection))
    with pytest.raises(AirflowFailException, match="It may have a path"):
        retrain().execute(context())


def test_a_sensors_timeout_bounds_its_first_look_too(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.inject("status", status=503, count=None)
    with pytest.raises(KumoUnavailableError):
        KumoJobSensor(task_id="wait", job_id="bp-job-1", timeout=0.3).execute(context())


def test_a_query_without_a_model_cannot_predict(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.add_query("never_trained")
    with pytest.raises(AirflowFailException, match="has no successful training job"):
        predict(pquery_id="never_trained").execute(context())


def test_a_prediction_time_may_be_any_time_of_airflows(kumo_emulator: LocalKumo) -> None:
    for moment in ("2026-11-20", "2026-11-20 00:00:00+00:00", datetime(2026, 11, 20, 2, tzinfo=UTC)):
        operator = predict(pquery_id="churn_30d", prediction_time=moment, wait_for_completion=False, durable=False)
        job_id = operator.execute(context())["job_id"]
        sent = kumo_emulator.job(job_id).config["prediction_time"]
        assert sent.startswith("2026-11-20T0"), sent
        assert sent.endswith("Z")


def test_a_trigger_holds_no_secret(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    with pytest.raises(TaskDeferred) as deferred:
        retrain(deferrable=True).execute(context())
    assert kumo_emulator.api_key not in json.dumps(deferred.value.trigger.serialize())


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_task_that_was_cleared_while_deferred_starts_a_new_job(kumo_emulator: LocalKumo, deferrable: bool) -> None:
    """One that waited on a worker goes on: with its worker lost and no retry left, Clear is how it is tried again."""
    kumo_emulator.hold(kind="training")
    started = retrain(deferrable=True)
    started.deferrable = deferrable
    with (
        mock.patch("airflow_provider_kumo.client.waiting.wait_for", side_effect=SystemExit),
        pytest.raises(TaskDeferred if deferrable else SystemExit),
    ):
        started.execute(context(TaskInstanceStub(try_number=1, tries=3)))
    with pytest.raises(TaskDeferred):
        retrain(deferrable=True).execute(context(TaskInstanceStub(try_number=2, tries=4)))
    wanted = ["CANCELLED", "RUNNING"] if deferrable else ["RUNNING"]
    kumo_emulator.wait_for(lambda: [_status(job) for job in operator_jobs(kumo_emulator)] == wanted)


def _status(job: Any) -> str:
    return "CANCELLED" if job.status == "CANCELLED" else "RUNNING"
