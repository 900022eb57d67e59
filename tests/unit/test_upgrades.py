"""What a released version has left in Airflow's database is taken up by this one; see docs/policies.md.

A record is never edited: a release adds its own.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_kumo.client.errors import KumoJobFailedError, KumoUnavailableError
from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator
from airflow_provider_kumo.sensors.kumo import KumoJobSensor

TRIGGERS: dict[str, tuple[str, dict[str, Any]]] = {
    "0.1.0 of an operator": (
        "airflow_provider_kumo.triggers.kumo.KumoJobTrigger",
        {
            "kumo_conn_id": "kumo_default",
            "job_id": "trainingjob-3e891bf96abc6e4d",
            "job_kind": "training",
            "poll_interval": None,
            "deadline": 1796000000.5,
            "cancel_on_kill": True,
        },
    ),
    "0.1.0 of the sensor": (
        "airflow_provider_kumo.triggers.kumo.KumoJobTrigger",
        {
            "kumo_conn_id": "kumo_default",
            "job_id": "bp-job-e47d7c99aaf0b9b3",
            "job_kind": "prediction",
            "poll_interval": 30.0,
            "deadline": None,
            "cancel_on_kill": False,
        },
    ),
}
_JOB_0_1_0 = {
    "job_id": "bp-job-e47d7c99aaf0b9b3",
    "kind": "prediction",
    "status": "DONE",
    "tracking_url": "https://acme.kumoai.cloud/jobs/bp-job-e47d7c99aaf0b9b3",
    "pquery_id": "churn_30d",
    "created_at": "2026-11-24T02:41:11+00:00",
    "started_at": "2026-11-24T02:41:12+00:00",
    "ended_at": "2026-11-24T03:05:00+00:00",
    "metrics": None,
    "num_entities_predicted": 1271398,
    "training_job_id": "trainingjob-3e891bf96abc6e4d",
    "stage": None,
    "stage_detail": None,
    "errors": [],
    "warnings": [],
    "nonfinite_metrics": [],
    "cancel_requested": False,
}
_FAILED_0_1_0 = {
    **_JOB_0_1_0,
    "job_id": "trainingjob-3e891bf96abc6e4d",
    "kind": "training",
    "status": "FAILED",
    "stage": "Training",
    "errors": ["Column AGE is gone. Table USERS has no column AGE."],
    "num_entities_predicted": None,
}


@pytest.mark.parametrize("record", TRIGGERS.values(), ids=TRIGGERS)
def test_a_trigger_goes_on_waiting_for_its_job(record: tuple[str, dict[str, Any]]) -> None:
    path, arguments = record
    module, _, name = path.rpartition(".")
    trigger = getattr(import_module(module), name)(**arguments)
    same_path, now = trigger.serialize()
    assert same_path == path
    assert {key: now[key] for key in arguments} == arguments


def test_a_sensor_reads_that_its_job_has_ended() -> None:
    sensor = KumoJobSensor(task_id="wait", job_id="bp-job-e47d7c99aaf0b9b3")
    result = sensor.execute_complete({}, {"version": 1, "outcome": "ended", "job": _JOB_0_1_0})
    kept = ("job_id", "kind", "status", "tracking_url", "pquery_id", "created_at", "started_at", "ended_at")
    assert {key: result[key] for key in kept} == {key: _JOB_0_1_0[key] for key in kept}
    assert result["num_entities_predicted"] == 1271398


def test_a_sensor_reads_that_its_time_has_passed() -> None:
    sensor = KumoJobSensor(task_id="wait", job_id="bp-job-e47d7c99aaf0b9b3")
    running = {**_JOB_0_1_0, "status": "RUNNING", "ended_at": None}
    with pytest.raises(AirflowFailException, match=r"KumoJobTimeoutError: .*bp-job-e47d7c99aaf0b9b3 .*is RUNNING"):
        sensor.execute_complete({}, {"version": 1, "outcome": "timed_out", "job": running})


@pytest.mark.usefixtures("kumo_emulator")
def test_an_operator_reads_that_its_job_has_failed() -> None:
    operator = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d")
    with pytest.raises(KumoJobFailedError, match=r"in stage 'Training': Column AGE is gone\."):
        operator.execute_complete({}, {"version": 1, "outcome": "ended", "job": _FAILED_0_1_0})


def test_an_operator_reads_that_kumo_could_not_be_asked() -> None:
    operator = KumoBatchPredictOperator(task_id="predict", pquery_id="churn_30d")
    lost = {"version": 1, "outcome": "gave_up", "job_id": "bp-job-1", "error_class": "KumoUnavailableError"}
    with pytest.raises(KumoUnavailableError, match="HTTP 503"):
        operator.execute_complete(
            {"ti": SimpleNamespace(try_number=1, max_tries=1)}, {**lost, "error": "HTTP 503 for 30 min"}
        )
