"""Whatever Kumo's schema can say, of its oldest supported version and its newest, our parsers read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.endings import closing_lines, error_of
from airflow_provider_kumo.client.errors import KumoJobCancelledError, KumoJobFailedError, KumoRequestRefusedError
from airflow_provider_kumo.client.jobs import Job, JobKind, PredictiveQuery

if TYPE_CHECKING:
    from tests.contract.conftest import Schema

CREATED = "2026-11-23T06:00:00+00:00"
STARTED = "2026-11-23T06:01:00+00:00"
ENDED = "2026-11-23T07:43:07.250000+00:00"

NOTHING_YET = {"ended_at": None, "stage": None, "stage_detail": None}
STATUSES: dict[str, dict[str, Any]] = {
    "NOT_STARTED": NOTHING_YET,
    "QUEUED": NOTHING_YET,
    "RUNNING": {"ended_at": None, "stage": "Generate Training Table", "stage_detail": "step 1"},
    "DONE": {"ended_at": ENDED, "stage": "Training", "stage_detail": "step 2"},
    "FAILED": {
        "ended_at": ENDED,
        "stage": "Generate Training Table",
        "stage_detail": "step 1",
        "errors": ["Error 0. Mend 0.", "Error 1. Mend 1."],
        "warnings": ["Warning 0. Mind 0."],
    },
    "CANCELLED": {"ended_at": ENDED, "stage": "Data Ingestion", "stage_detail": None},
    "UNTRAINED": NOTHING_YET,
    "MISSING": NOTHING_YET,
}
RESULTS: dict[JobKind, dict[str, Any]] = {
    JobKind.TRAINING: {
        "metrics": {
            "test": {"auroc": 0.84, "ap": None, "loss": None},
            "validation": {"auroc": 0.85, "mape": None},
            "training": {},
        },
        "nonfinite_metrics": ["test loss", "validation mape"],
        "cancel_requested": False,
    },
    JobKind.PREDICTION: {"num_entities_predicted": 1_250_000},
}


def expected_event(kind: JobKind, status: str) -> dict[str, Any]:
    """Return what a deferred task gets to know about a job of :mod:`programs.answers`."""
    job_id = ("trainingjob-" if kind is JobKind.TRAINING else "bp-job-") + status.lower()
    return {
        "job_id": job_id,
        "kind": kind.value,
        "status": status,
        # The schema's tracking URL names a host that only Kumo can reach.
        "tracking_url": f"https://kumo.example.com/jobs/{job_id}?tab=log",
        "pquery_id": "pquery-churn",
        "training_job_id": "trainingjob-done" if kind is JobKind.PREDICTION else None,
        "created_at": CREATED,
        "started_at": STARTED,
        "errors": [],
        "warnings": [],
        "metrics": {"test": {}, "validation": {}, "training": {}},
        "nonfinite_metrics": [],
        "cancel_requested": False,
        "num_entities_predicted": None,
        **STATUSES[status],
        **(RESULTS[kind] if status == "DONE" else {}),
    }


def read_job(schema: Schema, kind: JobKind, status: str) -> Job:
    return schema.read(f"{kind} {status}", calls.get_job(kind, "any"))


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("kind", JobKind)
def test_a_job_is_read_in_every_status(schema: Schema, kind: JobKind, status: str) -> None:
    job = read_job(schema, kind, status)

    assert job.to_event() == expected_event(kind, status)
    assert job.result().items() <= job.to_event().items()
    assert job.tags == {"pquery_name": "churn_30d", "pquery_id": "pquery-churn", "team": "growth"}
    assert Job.from_event(job.to_event()).to_event() == job.to_event()


def test_every_status_of_the_schema_is_known_here_and_the_same_ones_are_ends(schema: Schema) -> None:
    assert schema.printed["statuses"] == list(STATUSES)
    assert [s for s in STATUSES if read_job(schema, JobKind.TRAINING, s).is_terminal] == schema.printed["terminal"]


def test_these_answers_use_all_fields_that_the_newest_schema_has_for_them(newest_schema: Schema) -> None:
    assert newest_schema.printed["lacking"] == []


@pytest.mark.parametrize("kind", JobKind)
def test_a_list_holds_the_same_jobs_as_were_read_one_by_one(schema: Schema, kind: JobKind) -> None:
    listed = schema.read(f"{kind}s", calls.list_jobs(kind))

    assert {job.status: job for job in listed} == {status: read_job(schema, kind, status) for status in STATUSES}
    assert schema.read("no jobs", calls.list_jobs(kind)) == []


@pytest.mark.parametrize("kind", JobKind)
def test_the_reason_of_a_failure_reaches_the_error(schema: Schema, kind: JobKind) -> None:
    error = error_of(read_job(schema, kind, "FAILED"))

    assert isinstance(error, KumoJobFailedError)
    assert "Error 0. Mend 0. Error 1. Mend 1. See https://kumo.example.com/jobs/" in str(error)
    assert isinstance(error_of(read_job(schema, kind, "CANCELLED")), KumoJobCancelledError)
    assert error_of(read_job(schema, kind, "DONE")) is None


def test_metrics_that_are_none_nan_or_infinite_are_told_apart_in_the_log(schema: Schema) -> None:
    lines = closing_lines(read_job(schema, JobKind.TRAINING, "DONE"), now=0.0)

    assert lines == [
        "Training job trainingjob-done ended as DONE after 1 h 43 min.",
        "metric        test  validation",
        "auroc         0.84        0.85",
        "ap               -           -",
        "loss             -           -",
        "mape             -           -",
        "Not finite, returned as null: test loss, validation mape",
    ]


PROGRESS = {
    "training not yet in progress": "",
    "training in its first epoch": "0 %, 0 of 4 trials",
    "training midway": "25 %, 1 of 4 trials, epoch 2, auroc 0.81, about 1 h 30 min left",
    "training at its end": "100 %, 4 of 4 trials, epoch 5, auroc 0.84, about 0 s left",
    "prediction not yet in progress": "",
    "prediction without an estimate": "1 %, 12 of 1200 iterations",
    "prediction midway": "25 %, 300 of 1200 iterations, about 15 min left",
    "prediction at its end": "100 %, 1200 of 1200 iterations, about 0 s left",
}


@pytest.mark.parametrize(("name", "said"), PROGRESS.items())
def test_progress_is_said_in_a_phrase(schema: Schema, name: str, said: str) -> None:
    call = calls.get_progress(JobKind(name.split()[0]), "any")

    assert schema.read(name, call).describe() == said


PLAIN: dict[str, tuple[calls.Call[Any], Any]] = {
    "training created": (calls.create_training_job({"pquery_id": "q"}), "trainingjob-new"),
    "prediction accepted": (calls.create_prediction_job({"model_training_job_id": "t"}), "bp-job-new"),
    "prediction accepted with a warning": (calls.create_prediction_job({"model_training_job_id": "t"}), "bp-job-new"),
    "training cancelled": (calls.cancel_job(JobKind.TRAINING, "t"), True),
    "training not cancelled": (calls.cancel_job(JobKind.TRAINING, "t"), False),
    "prediction cancelled": (calls.cancel_job(JobKind.PREDICTION, "p"), True),
    "prediction not cancelled": (calls.cancel_job(JobKind.PREDICTION, "p"), False),
    "tags changed": (calls.update_tags(JobKind.TRAINING, "t", {"a": "b"}), True),
    "tags unchanged": (calls.update_tags(JobKind.TRAINING, "t", {"a": "b"}), False),
    "prediction urls": (calls.get_prediction_urls("p"), ["https://files/p-0?sig=1", "https://files/p-1?sig=2"]),
    "embedding urls": (calls.get_embedding_urls("p"), []),
    "graph": (calls.save_graph({}), "graph-0123456789abcdef"),
    "snapshot": (calls.create_graph_snapshot("graph-0123456789abcdef"), "graph-0123456789abcdef@7"),
    "feature flags": (calls.get_config(), {"rbac": True}),
}


@pytest.mark.parametrize(("name", "call", "expected"), [(name, *rest) for name, rest in PLAIN.items()])
def test_a_plain_answer_is_read(schema: Schema, name: str, call: calls.Call[Any], expected: Any) -> None:
    assert schema.read(name, call) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("prediction rejected", "Error 0. Mend 0. Error 1. Mend 1."),
        ("prediction rejected without a reason", "it gave no reason."),
    ],
)
def test_a_rejected_prediction_is_an_error_with_its_reasons(schema: Schema, name: str, reason: str) -> None:
    with pytest.raises(KumoRequestRefusedError) as refused:
        schema.read(name, calls.create_prediction_job({"model_training_job_id": "t"}))

    assert str(refused.value) == f"Kumo rejected the batch prediction: {reason}"


def test_a_predictive_query_is_read_with_its_graph_as_kumo_sent_it(schema: Schema) -> None:
    query = schema.read("query", calls.get_predictive_query("churn_30d"))

    assert query.name == "churn_30d"
    assert query.query_string == "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.user_id"
    assert query.graph["tables"]["users"]["pkey"] == "user_id"
    assert schema.read("queries", calls.list_predictive_queries()) == [query, query]
    assert isinstance(query, PredictiveQuery)
