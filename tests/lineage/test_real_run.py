"""A DAG under a real Airflow that has the OpenLineage provider, with events in a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kumo.emulator.local import LocalKumo
from dev.airflow_stack import AirflowStack


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Run retrain and predict, deferred; return the COMPLETE event of each task."""
    home = tmp_path_factory.mktemp("airflow")
    events = home / "openlineage.jsonl"
    transport = {"type": "file", "log_file_path": str(events), "append": True}
    with (
        LocalKumo(speed=1500) as kumo,
        AirflowStack(
            home,
            Path(os.environ["AIRFLOW_HOME"]) / "dags",
            env={
                "AIRFLOW_CONN_KUMO_DEFAULT": kumo.connection_json,
                "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
                "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
            },
            settings={"scheduler": {"use_job_schedule": "False"}},
        ) as airflow,
    ):
        airflow.wait_for_dags({"case_lineage"})
        run_id = airflow.trigger("case_lineage")
        airflow.wait_for_run("case_lineage", run_id, seconds=240)
        states = {task["task_id"]: task["state"] for task in airflow.task_instances("case_lineage", run_id)}
        assert states == {"retrain": "success", "predict": "success"}
        results = {task: airflow.xcom("case_lineage", run_id, task) for task in states}

        def complete() -> dict[str, dict[str, Any]]:
            lines = events.read_text().splitlines() if events.exists() else []
            found = [json.loads(line) for line in lines]
            return {e["job"]["name"]: e for e in found if e["eventType"] == "COMPLETE"}

        kumo.wait_for(lambda: {"case_lineage.retrain", "case_lineage.predict"} <= complete().keys(), timeout=60)
        assert kumo.api_key not in events.read_text()
        return {task: {**complete()[f"case_lineage.{task}"], "result": results[task]} for task in states}


def test_a_deferred_retrain_sends_its_query_its_tables_and_its_metrics(completed: dict[str, dict[str, Any]]) -> None:
    event = completed["retrain"]
    facet = event["run"]["facets"]["kumo_job"]
    assert facet["jobId"] == event["result"]["job_id"]
    assert facet["metrics"] == event["result"]["metrics"]
    assert facet["trackingUrl"] == event["result"]["tracking_url"]
    assert event["job"]["facets"]["sql"]["query"].startswith("PREDICT")
    assert {dataset["namespace"] for dataset in event["inputs"]} == {"snowflake://acme-eu1"}
    assert len(event["inputs"]) == 3


def test_a_deferred_prediction_sends_what_it_has_written(completed: dict[str, dict[str, Any]]) -> None:
    event = completed["predict"]
    facet = event["run"]["facets"]["kumo_job"]
    assert facet["trainingJobId"] == completed["retrain"]["result"]["job_id"]
    assert facet["numEntitiesPredicted"] == event["result"]["num_entities_predicted"]
    table, file = sorted(event["outputs"], key=lambda dataset: dataset["namespace"], reverse=True)
    assert table["namespace"] == "snowflake://acme-eu1"
    assert table["name"].startswith("SHOP.PUBLIC.CHURN_")
    assert (file["namespace"], file["name"]) == ("s3://acme-ml", "churn")
