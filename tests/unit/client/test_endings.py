from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_kumo.client.endings import closing_lines, error_of, timeout_of
from airflow_provider_kumo.client.errors import KumoJobCancelledError, KumoJobFailedError
from airflow_provider_kumo.client.jobs import Job, JobKind

BORN = datetime(2026, 11, 20, tzinfo=UTC)


def job(status: str, **more) -> Job:
    return Job(
        **{
            "id": "trainingjob-1",
            "kind": JobKind.TRAINING,
            "status": status,
            "pquery_id": "churn_30d",
            "stage": "Training",
            "tracking_url": "https://acme.kumoai.cloud/jobs/trainingjob-1",
            "created_at": BORN,
            **more,
        }
    )


def test_a_job_that_is_done_has_no_error():
    assert error_of(job("DONE")) is None


@pytest.mark.parametrize(
    ("status", "error_class", "retryable"),
    [
        ("CANCELLED", KumoJobCancelledError, False),
        *((other, KumoJobFailedError, True) for other in ("FAILED", "RUNNING", "UNTRAINED", "done", "")),
    ],
)
def test_whatever_is_not_done_is_an_error_that_names_job_query_stage_and_link(status, error_class, retryable):
    error = error_of(job(status))
    assert type(error) is error_class
    assert (error.retryable, error.job_id) == (retryable, "trainingjob-1")
    for part in ("trainingjob-1", "churn_30d", "'Training'", "https://acme.kumoai.cloud/jobs/trainingjob-1"):
        assert part in str(error)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"errors": ("Empty table. No rows.", "Second.")}, "Empty table. No rows. Second."),
        ({"stage_detail": "Experiment 3 of 4"}, "Experiment 3 of 4"),
        ({}, "Kumo gave no reason."),
        ({"stage": None, "tracking_url": None, "pquery_id": None}, "Training job trainingjob-1 ended as FAILED: Kumo"),
    ],
)
def test_a_failure_says_why(more, said):
    assert said in str(error_of(job("FAILED", **more)))


def test_a_prediction_names_its_model():
    error = error_of(
        job("FAILED", kind=JobKind.PREDICTION, id="bp-job-1", pquery_id=None, training_job_id="trainingjob-9")
    )
    assert str(error).startswith("Batch prediction job bp-job-1 with model trainingjob-9 ended as FAILED")


def test_a_timeout_says_what_the_job_was_doing_and_from_when_it_counts():
    error = timeout_of(job("RUNNING"), timeout=7200, since="the start of the task")
    assert str(error) == (
        "Training job trainingjob-1 of predictive query churn_30d has not ended within 2 h 0 min of the start of the "
        "task, which is the task's timeout; it is RUNNING in stage 'Training' now. "
        "See https://acme.kumoai.cloud/jobs/trainingjob-1"
    )
    assert error.job_id == "trainingjob-1"


def test_the_end_of_a_job_is_told_with_its_metrics():
    done = job(
        "DONE",
        ended_at=datetime(2026, 11, 20, 1, 42, tzinfo=UTC),
        warnings=("Few rows.",),
        metrics={"test": {"auroc": 0.81234, "auprc": None}, "training": {"auroc": 0.9, "loss": 1.0}},
        nonfinite_metrics=("test auprc",),
    )
    lines = closing_lines(done, now=0)
    assert lines[0] == "Training job trainingjob-1 ended as DONE after 1 h 42 min."
    assert "Kumo warns: Few rows." in lines
    assert [line.split() for line in lines[2:-1]] == [
        ["metric", "test", "training"],
        ["auroc", "0.8123", "0.9"],
        ["auprc", "-", "-"],
        ["loss", "-", "1"],
    ]
    assert lines[-1] == "Not finite, returned as null: test auprc"


def test_the_end_of_a_prediction_is_told_with_its_entities():
    done = job("DONE", kind=JobKind.PREDICTION, id="bp-job-1", num_entities_predicted=1_250_000)
    assert closing_lines(done, now=BORN.timestamp() + 60) == [
        "Batch prediction job bp-job-1 ended as DONE after 60 s.",
        "Entities predicted: 1,250,000",
    ]
