"""Kumo's own client and ours speak with the same local Kumo and understand each other's jobs.

The client checks what it reads with Kumo's own strict parsers, so every call that returns is a check of the emulator.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import KumoRequestRefusedError
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.client.newest import newest_training_job
from airflow_provider_kumo.client.requests import prediction_request, training_request
from airflow_provider_kumo.client.waiting import wait_for
from airflow_provider_kumo.client.watch import Watch
from airflow_provider_kumo.emulator.local import LocalKumo
from airflow_provider_kumo.outputs import local, snowflake

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kumo.client.sync import KumoClient
    from tests.contract.conftest import Clock, OfficialClient

TRAINING, PREDICTION = JobKind
APIS = {TRAINING: "training_job_api", PREDICTION: "batch_prediction_job_api"}
QUERY = "churn_30d"
NO_SUCH = "trainingjob-none"
# Longer than a job takes to start, and to end when it is cancelled; much shorter than it runs.
MINUTE = 60.0


def create(official: OfficialClient, kumo: LocalKumo, kind: JobKind, **more: Any) -> str:
    """Start a job with Kumo's own client."""
    if kind is TRAINING:
        created: str = official("training_job_api.create", {"job_tags": {}, "pquery_id": QUERY, **more})
        return created
    accepted, validation = official(
        "batch_prediction_job_api.maybe_create",
        {"job_tags": {}, "model_training_job_id": model_of(kumo), "predict_options": {}, **more},
    )
    assert validation["errors"] == []
    return str(accepted)


def create_ours(ours: KumoClient, kumo: LocalKumo, kind: JobKind, **more: Any) -> str:
    """Start a job with our client."""
    if kind is TRAINING:
        return ours.send(calls.create_training_job(training_request(pquery_id=QUERY, **more)))
    return ours.send(calls.create_prediction_job(prediction_request(training_job_id=model_of(kumo), **more)))


def model_of(kumo: LocalKumo) -> str:
    """Return the id of the model that the query has from the beginning."""
    return next(job.id for job in kumo.jobs("training") if job.pquery_name == QUERY and job.started_by == "past")


def seen_by_both(official: OfficialClient, ours: KumoClient, kind: JobKind, job_id: str) -> tuple[dict[str, Any], Job]:
    return official(f"{APIS[kind]}.get", job_id), ours.send(calls.get_job(kind, job_id))


def bring(kumo: LocalKumo, clock: Clock, job_id: str, status: str) -> None:
    """Bring a job that was just created to a status, past which it does not go by itself within a test."""
    clock.forward({"NOT_STARTED": 0.0, "QUEUED": MINUTE / 3}.get(status, MINUTE))
    endings: dict[str, Callable[[str], object]] = {"DONE": kumo.finish, "FAILED": kumo.fail, "CANCELLED": kumo.cancel}
    if status in endings:
        endings[status](job_id)
        clock.forward(MINUTE)
    assert kumo.job(job_id).status == status


def instant(moment: str | None) -> str | None:
    return None if moment is None else datetime.fromisoformat(moment).isoformat()


def user_fields(theirs: dict[str, Any]) -> dict[str, Any]:
    """Return of a job as Kumo's own client read it what a user of ours sees, but for the link."""
    report, config, result = theirs["job_status_report"], theirs["config"], theirs["result"] or {}
    last_event = (report["event_log"] or [{}])[-1]
    evaluation = result.get("eval_metrics") or {}
    return {
        "job_id": theirs["job_id"],
        "status": report["status"],
        "pquery_id": config.get("pquery_id") or theirs["tags"]["pquery_id"],
        "training_job_id": config.get("model_training_job_id"),
        "created_at": instant(theirs["created_at"]),
        "started_at": instant(report["start_time"]),
        "ended_at": instant(report["end_time"]),
        "stage": last_event.get("stage_name"),
        "stage_detail": last_event.get("detail"),
        "errors": [f"{e['title']}. {e['message']}" for e in (report["validation_response"] or {}).get("errors", ())],
        "metrics": {
            split: {metric["name"]: metric["value"] for metric in evaluation.get(f"{split}_metrics", ())}
            for split in ("test", "validation", "training")
        },
        "num_entities_predicted": result.get("num_entities_predicted"),
    }


# -- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["NOT_STARTED", "QUEUED", "RUNNING", "DONE", "FAILED", "CANCELLED"])
@pytest.mark.parametrize("kind", JobKind)
def test_both_clients_read_the_same_job(
    kumo: LocalKumo, clock: Clock, official: OfficialClient, ours: KumoClient, kind: JobKind, status: str
) -> None:
    job_id = create(official, kumo, kind, job_tags={"team": "growth"})
    bring(kumo, clock, job_id, status)

    theirs, job = seen_by_both(official, ours, kind, job_id)

    assert theirs["job_status_report"]["status"] == status
    assert user_fields(theirs).items() <= job.to_event().items()
    assert theirs["tags"] == job.tags
    assert job.tags["team"] == "growth"
    assert (job.num_entities_predicted is not None) == (status == "DONE" and kind is PREDICTION)
    assert bool(job.metrics) == (status == "DONE" and kind is TRAINING)
    assert bool(job.errors) == (status == "FAILED")


def test_both_clients_put_the_link_on_the_configured_host(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient
) -> None:
    job_id = create(official, kumo, TRAINING)

    assert official("tracking_url", job_id) == ours.send(calls.get_job(TRAINING, job_id)).tracking_url


@pytest.mark.parametrize("kind", JobKind)
def test_both_clients_read_the_same_progress(
    kumo: LocalKumo, clock: Clock, official: OfficialClient, ours: KumoClient, kind: JobKind
) -> None:
    units, midway = ("trials", 45 * MINUTE) if kind is TRAINING else ("iterations", 20 * MINUTE)
    job_id = create(official, kumo, kind)
    percents = []
    for step in (lambda: None, lambda: clock.forward(midway), lambda: kumo.finish(job_id)):
        step()
        theirs = official(f"{APIS[kind]}.get_progress", job_id)
        progress = ours.send(calls.get_progress(kind, job_id))
        percents.append(progress.percent)
        assert progress.total == theirs[f"total_{units}"]
        assert abs(progress.done - theirs[f"completed_{units}"]) <= 1, "a second may pass between the two looks"

    assert percents[0] is None
    assert 0 < (percents[1] or 0) < 100
    assert percents[2] == 100


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, {"new", "past"}),
        ({"pquery_name": QUERY}, {"new", "past"}),
        ({"pquery_id": "pquery-churn-30d"}, {"new", "past"}),
        ({"pquery_name": "ltv_90d"}, set()),
        ({"job_status": "RUNNING"}, {"new"}),
        ({"job_status": "DONE", "pquery_name": QUERY}, {"past"}),
        ({"limit": 1}, {"new"}),
        ({"additional_tags": {"team": "growth", "run.id": "a+b: c&d"}}, {"new"}),
        ({"additional_tags": {"team": "sales"}}, set()),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", JobKind)
def test_both_clients_find_the_same_jobs(
    kumo: LocalKumo,
    clock: Clock,
    official: OfficialClient,
    ours: KumoClient,
    kind: JobKind,
    filters: dict[str, Any],
    found: set[str],
) -> None:
    if kind is PREDICTION:
        kumo.add_past_jobs(QUERY, 1, kind="prediction")
    past = next(job.id for job in kumo.jobs(kind.value) if job.pquery_name == QUERY)
    new = create(official, kumo, kind, job_tags={"team": "growth", "run.id": "a+b: c&d"})
    bring(kumo, clock, new, "RUNNING")
    names = {new: "new", past: "past"}
    renamed = {"job_status": "status", "additional_tags": "tags"}

    theirs = [job["job_id"] for job in official(f"{APIS[kind]}.list", **filters)]
    own = ours.send(calls.list_jobs(kind, **{renamed.get(key, key): value for key, value in filters.items()}))

    assert [job.id for job in own] == theirs
    assert {names[job_id] for job_id in theirs if job_id in names} == found


def test_a_models_predictions_are_listed(kumo: LocalKumo, official: OfficialClient) -> None:
    job_id = create(official, kumo, PREDICTION)

    of_model = official("batch_prediction_job_api.list", model_id=model_of(kumo))
    of_another = official("batch_prediction_job_api.list", model_id=NO_SUCH)

    assert ([job["job_id"] for job in of_model], of_another) == ([job_id], [])


def test_both_clients_list_the_same_connectors(kumo: LocalKumo, official: OfficialClient, ours: KumoClient) -> None:
    assert ours.send(calls.list_connectors()) == len(official("connector_api.list")) > 0


def test_both_clients_read_the_same_predictive_queries(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient
) -> None:
    for name in (QUERY, "pquery-churn-30d"):
        theirs = official("pquery_api.get_if_exists", name)
        query = ours.send(calls.get_predictive_query(name))
        assert (query.name, query.query_string, query.graph) == (QUERY, theirs["query_string"], theirs["graph"])
    for pattern in (None, "churn*", "nothing*"):
        names = [query["name"] for query in official("pquery_api.list", name_pattern=pattern)]
        assert [q.name for q in ours.send(calls.list_predictive_queries(name_pattern=pattern))] == names
    assert official("pquery_api.get_if_exists", "no such query") is None


def test_both_clients_get_a_jobs_files(
    kumo: LocalKumo, clock: Clock, official: OfficialClient, ours: KumoClient
) -> None:
    job_id = create(official, kumo, PREDICTION, predict_options={"num_workers": 3})
    bring(kumo, clock, job_id, "DONE")

    def unsigned(urls: list[str]) -> list[str]:
        return [url.partition("?")[0] for url in urls]

    predictions = unsigned(official("batch_prediction_job_api.get_batch_predictions_url", job_id))
    embeddings = unsigned(official("batch_prediction_job_api.get_batch_embeddings_url", job_id))
    assert len(predictions) == 3
    assert predictions == unsigned(ours.send(calls.get_prediction_urls(job_id)))
    assert embeddings == unsigned(ours.send(calls.get_embedding_urls(job_id)))


def test_a_finished_training_has_a_holdout_and_no_encoders(kumo: LocalKumo, official: OfficialClient) -> None:
    model = model_of(kumo)

    assert official("training_job_api.holdout_data_url", model).startswith(f"{kumo.origin}/files/{model}/holdout")
    assert official("training_job_api.get_encoders", model) is None


# -- changing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", JobKind)
def test_what_one_client_tags_the_other_reads(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient, kind: JobKind
) -> None:
    job_id = create(official, kumo, kind, job_tags={"team": "growth"})

    assert official(f"{APIS[kind]}.update_tags", job_id, {"seen": "a+b & c"}) is True
    assert ours.send(calls.update_tags(kind, job_id, {"airflow": "yes"})) is True
    theirs, job = seen_by_both(official, ours, kind, job_id)
    assert theirs["tags"] == job.tags
    assert {"team": "growth", "seen": "a+b & c", "airflow": "yes"}.items() <= job.tags.items()

    assert official(f"{APIS[kind]}.delete_tags", job_id, ["team", "airflow"]) is True
    assert official(f"{APIS[kind]}.delete_tags", job_id, ["never"]) is False
    assert ours.send(calls.update_tags(kind, job_id, {"seen": "none"})) is True
    assert not {"team", "seen", "airflow"} & ours.send(calls.get_job(kind, job_id)).tags.keys()


@pytest.mark.parametrize("by_ours", [False, True], ids=["by theirs", "by ours"])
@pytest.mark.parametrize("kind", JobKind)
def test_what_one_client_started_the_other_cancels(
    kumo: LocalKumo, clock: Clock, official: OfficialClient, ours: KumoClient, kind: JobKind, by_ours: bool
) -> None:
    def cancel() -> bool:
        if by_ours:
            return ours.send(calls.cancel_job(kind, job_id))
        cancelled: bool = official(f"{APIS[kind]}.cancel", job_id)["is_cancelled"]
        return cancelled

    job_id = create(official, kumo, kind) if by_ours else create_ours(ours, kumo, kind)
    bring(kumo, clock, job_id, "RUNNING")

    assert cancel() is True
    clock.forward(MINUTE)
    theirs, job = seen_by_both(official, ours, kind, job_id)
    assert (theirs["job_status_report"]["status"], job.status) == ("CANCELLED", "CANCELLED")
    assert cancel() is False


@pytest.mark.parametrize("kind", JobKind)
def test_a_job_of_theirs_is_found_and_watched_to_its_end_by_ours(
    kumo: LocalKumo, clock: Clock, official: OfficialClient, ours: KumoClient, kind: JobKind
) -> None:
    job_id = create(official, kumo, kind, job_tags={"airflow_key": "k1"})
    (found,) = ours.send(calls.list_jobs(kind, tags={"airflow_key": "k1"}))
    log = _Log(
        {
            ": NOT_STARTED": lambda: clock.forward(MINUTE),
            ": RUNNING, Data Ingestion": lambda: kumo.finish(job_id),
        }
    )

    ended = wait_for(ours, found, Watch(poll_interval=0.01, deadline=None), log=log)

    assert (ended.id, ended.status) == (job_id, "DONE")
    assert log.said == list(log.steps)


class _Log:
    """A log that takes a step when it is told of something; it keeps of each line the part that is expected."""

    def __init__(self, steps: dict[str, Callable[[], object]]) -> None:
        self.steps = steps
        self.said: list[str] = []

    def info(self, msg: str, /, *args: Any) -> None:
        line = msg % args
        known = next((text for text in self.steps if text in line), line)
        self.said.append(known)
        self.steps.get(known, lambda: None)()

    debug = warning = info


def test_a_training_of_theirs_becomes_the_newest_model_of_ours(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient
) -> None:
    job_id = create(official, kumo, TRAINING)
    before = newest_training_job(ours.send, QUERY)
    kumo.finish(job_id)
    after = newest_training_job(ours.send, QUERY)

    assert before is not None
    assert after is not None
    assert (before.id, after.id) == (model_of(kumo), job_id)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (TRAINING, {}),
        (TRAINING, {"job_tags": {"team": "growth"}, "model_plan": {"training_job": {"num_experiments": 2}}}),
        (PREDICTION, {}),
        (
            PREDICTION,
            {
                "outputs": [
                    snowflake(connector_id="my_snowflake", table_name="T", write_mode="APPEND"),
                    local(artifact_type="EMBEDDINGS"),
                ],
                "prediction_time": "2026-01-02T03:04:05+00:00",
                "binary_classification_threshold": 0.5,
                "num_workers": 2,
                "explanations": True,
            },
        ),
    ],
    ids=["training", "training with choices", "prediction", "prediction with choices"],
)
def test_a_job_of_ours_is_read_by_theirs_as_it_was_asked_for(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient, kind: JobKind, arguments: dict[str, Any]
) -> None:
    job_id = create_ours(ours, kumo, kind, **arguments)

    theirs = official(f"{APIS[kind]}.get", job_id)
    assert theirs == next(job for job in official(f"{APIS[kind]}.list") if job["job_id"] == job_id)
    config = theirs["config"]
    assert config["job_tags"] == arguments.get("job_tags", {})
    if kind is TRAINING:
        experiments = arguments.get("model_plan", {}).get("training_job", {}).get("num_experiments", "???")
        assert config["model_plan"]["training_job"]["num_experiments"] == experiments
        return
    assert config["model_training_job_id"] == model_of(kumo)
    assert [(o["storage_type"], o["artifact_type"]) for o in config["outputs"]] == [
        (o["storage_type"], o["artifact_type"]) for o in arguments.get("outputs", ())
    ]
    assert config["prediction_time"] == ("2026-01-02T03:04:05Z" if arguments else None)
    assert config["predict_options"]["binary_classification_threshold"] == (0.5 if arguments else None)
    assert config["explanations"] is bool(arguments)


def test_a_plan_that_theirs_read_trains_again_with_ours(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient
) -> None:
    plan = ours.send(calls.get_job(TRAINING, model_of(kumo))).model_plan
    job_id = create_ours(ours, kumo, TRAINING, model_plan=plan, warm_start_job_id=model_of(kumo))

    config = official("training_job_api.get_config", job_id)

    assert config["model_plan"] == plan == official("training_job_api.get_config", model_of(kumo))["model_plan"]
    assert config["warm_start_job_id"] == model_of(kumo)


def test_both_clients_register_the_same_graph_and_read_each_others_snapshots(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient
) -> None:
    query = ours.send(calls.get_predictive_query(QUERY))
    graph_id = ours.send(calls.save_graph(query.graph))
    assert official("graph_api.create_graph", dict(query.graph)) == graph_id

    theirs = official("graph_api.create_snapshot", graph_id, refresh_source=True)
    snapshot = ours.send(calls.create_graph_snapshot(graph_id))
    assert snapshot != theirs, "a snapshot of fresh data is a new one"
    assert official("graph_api.get_snapshot", snapshot)["id"] == snapshot
    job_id = create_ours(ours, kumo, TRAINING, graph_snapshot_id=theirs)
    assert official("training_job_api.get_config", job_id)["graph_snapshot_id"] == theirs


# -- refusals -----------------------------------------------------------------------------------


def test_a_prediction_that_kumo_rejects_is_rejected_for_both_with_the_same_words(
    kumo: LocalKumo, official: OfficialClient, ours: KumoClient
) -> None:
    request = prediction_request(training_job_id=NO_SUCH)
    job_id, validation = official("batch_prediction_job_api.maybe_create", request)
    with pytest.raises(KumoRequestRefusedError) as refused:
        ours.send(calls.create_prediction_job(request))

    assert job_id is None
    (error,) = validation["errors"]
    assert f"{error['title']}. {error['message']}" in str(refused.value)
    assert kumo.jobs("prediction") == []


@pytest.mark.parametrize(
    ("action", "args", "code"),
    [
        ("training_job_api.create", [{"job_tags": {}, "pquery_id": "no such query"}], 422),
        ("training_job_api.create", [{"job_tags": {"no spaces": "x"}, "pquery_id": QUERY}], 422),
        ("training_job_api.get", [NO_SUCH], 404),
        ("training_job_api.get_progress", [NO_SUCH], 404),
        ("training_job_api.cancel", [NO_SUCH], 404),
        ("batch_prediction_job_api.get", ["bp-job-none"], 404),
    ],
)
def test_a_refusal_reaches_their_client_as_json_with_its_status(
    kumo: LocalKumo, official: OfficialClient, action: str, args: list[Any], code: int
) -> None:
    with pytest.raises(official.Error, match=str(code)) as refused:
        official(action, *args)

    assert refused.value.kind == "HTTPException"
    found = re.search(r"\{.*\}", str(refused.value), re.DOTALL)
    assert found is not None
    assert json.loads(found[0])["detail"]


def test_files_of_a_job_that_runs_are_refused(kumo: LocalKumo, official: OfficialClient) -> None:
    job_id = create(official, kumo, PREDICTION)

    with pytest.raises(official.Error, match="409"):
        official("batch_prediction_job_api.get_batch_predictions_url", job_id)


# -- the documented way through their client ----------------------------------------------------


def test_their_trainer_trains_and_predicts_anew(kumo: LocalKumo, official: OfficialClient, ours: KumoClient) -> None:
    job_id = official("retrain", model_of(kumo))
    assert official("status", job_id)["status"] in ("NOT_STARTED", "QUEUED", "RUNNING")
    kumo.finish(job_id)
    (found,) = ours.send(calls.list_jobs(TRAINING, tags={"by": "sdk"}))
    metrics = official("metrics", job_id)
    assert found.id == job_id
    assert found.metrics["test"] == {metric["name"]: metric["value"] for metric in metrics["test_metrics"]}

    prediction = official("predict", job_id, num_workers=2)
    kumo.finish(prediction)
    job = ours.send(calls.get_job(PREDICTION, prediction))
    assert job.training_job_id == job_id
    assert official("summary", prediction) == {"num_entities_predicted": job.num_entities_predicted}


def test_their_future_raises_when_the_job_fails(kumo: LocalKumo, official: OfficialClient) -> None:
    job_id = create(official, kumo, TRAINING)
    kumo.fail(job_id, title="Training table is empty", message="No rows.")

    with pytest.raises(official.Error, match="Training table is empty"):
        official("metrics", job_id)


# -- logging in ---------------------------------------------------------------------------------


def test_with_access_control_both_need_the_key_and_see_only_their_project(
    new_official: OfficialClient, client_for: Callable[..., KumoClient]
) -> None:
    with LocalKumo(rbac=True) as kumo:
        with pytest.raises(new_official.Error, match="HTTP 401") as refused:
            new_official("init", url=kumo.url, api_key="acme:wrong")
        assert refused.value.kind == "ValueError"
        new_official("init", url=kumo.url, api_key=kumo.api_key, group="g1", project="p1")

        job_id = create(new_official, kumo, TRAINING)
        with client_for(kumo, group_id="g1", project_id="p1") as ours:
            job = ours.send(calls.get_job(TRAINING, job_id))
            own = create_ours(ours, kumo, TRAINING)
        assert job.id == job_id
        assert new_official("training_job_api.get", own)["project_id"] == "p1"
        assert {seen.query.get("project_id") for seen in kumo.requests if "training_jobs" in seen.path} == {"p1"}
