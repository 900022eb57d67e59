"""What the operators hand to Airflow's OpenLineage provider, read with OpenLineage's own classes and schemas."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from airflow_provider_kumo.client.errors import KumoJobFailedError
from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator
from airflow_provider_kumo.outputs import bigquery, local, s3, snowflake

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.local import LocalKumo

pytestmark = pytest.mark.kumo_emulator(speed=15_000)

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


class TaskInstance:
    """As much of a task instance as an operator needs."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "dag", "run", "task", -1, 1, 0

    def __init__(self) -> None:
        self.start_date = datetime.now(UTC)

    def xcom_push(self, key: str, value: Any) -> None:
        """Take what is pushed."""


def sent(operator: Any) -> dict[str, Any]:
    """Return the event that OpenLineage's client makes of a task that has ended, as JSON."""
    from airflow.providers.openlineage.extractors.base import DefaultExtractor
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    # The provider's own way to the method: it logs what is raised, and returns None.
    found = DefaultExtractor(operator).extract_on_complete(TaskInstance())
    assert found is not None
    event = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(runId=str(uuid.uuid4()), facets=found.run_facets),
        job=Job(namespace="tests", name="dag.task", facets=found.job_facets),
        inputs=found.inputs,
        outputs=found.outputs,
    )
    return json.loads(Serde.to_json(event))


def names(datasets: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(dataset["namespace"], dataset["name"]) for dataset in datasets}


def retrain(**arguments: Any) -> KumoRetrainOperator:
    operator = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", deferrable=False, **arguments)
    operator.execute({"ti": TaskInstance()})
    return operator


def predict(**arguments: Any) -> KumoBatchPredictOperator:
    operator = KumoBatchPredictOperator(task_id="predict", pquery_id="churn_30d", deferrable=False, **arguments)
    operator.execute({"ti": TaskInstance()})
    return operator


SHOP = {("snowflake://acme-eu1", f"SHOP.PUBLIC.{table}") for table in ("USERS", "ORDERS", "ITEMS")}


def test_a_retrain_reads_the_tables_of_its_query_and_tells_the_query(kumo_emulator: LocalKumo) -> None:
    event = sent(retrain())
    assert {(namespace, name.upper()) for namespace, name in names(event["inputs"])} == SHOP
    assert event["outputs"] == []
    assert event["job"]["facets"]["sql"]["query"].startswith("PREDICT COUNT(orders.*, 0, 30, days)")


def test_a_retrain_tells_its_job_and_metrics_in_a_facet_of_a_published_schema(kumo_emulator: LocalKumo) -> None:
    event = sent(retrain())
    facet = event["run"]["facets"]["kumo_job"]
    job = kumo_emulator.jobs("training")[-1]
    assert facet["jobId"] == facet["trainingJobId"] == job.id
    assert facet["trackingUrl"] == f"{kumo_emulator.origin}/jobs/{job.id}"
    assert facet["metrics"]["test"]["auroc"] > 0.5
    assert event["run"]["facets"]["externalQuery"]["externalQueryId"] == job.id
    assert event["run"]["facets"]["externalQuery"]["source"] == kumo_emulator.origin

    url, _, pointer = facet["_schemaURL"].partition("#")
    schema = json.loads((SCHEMAS / url.partition("/docs/schemas/")[2]).read_text())
    assert schema["$id"] == url
    definition = schema
    for key in pointer.strip("/").split("/"):
        definition = definition[key]
    [own] = [part for part in definition["allOf"] if "$ref" not in part]
    jsonschema.validate(facet, own)
    # The client leaves out what is null, here numEntitiesPredicted.
    assert set(own["properties"]) - set(facet) == {"numEntitiesPredicted"}


def test_a_prediction_tells_what_it_wrote_where_its_connectors_point(kumo_emulator: LocalKumo) -> None:
    from openlineage.client.naming.dataset import S3, BigQuery, Snowflake

    event = sent(
        predict(
            outputs=[
                snowflake(connector_id="my_snowflake", table_name="CHURN"),
                bigquery(connector_id="my_bigquery", table_name="churn"),
                s3(file_path="s3://acme-ml/churn/part-{{PARTITION}}.parquet", connector_id="my_s3"),
                local(artifact_type="EMBEDDINGS"),
            ]
        )
    )
    wanted = [
        Snowflake("acme", "eu1", "SHOP", "PUBLIC", "CHURN"),
        BigQuery("acme-shop", "public", "churn"),
        S3("acme-ml", "churn"),
    ]
    assert names(event["outputs"]) == {(name.get_namespace(), name.get_name()) for name in wanted}
    assert {(namespace, name.upper()) for namespace, name in names(event["inputs"])} == SHOP
    assert event["run"]["facets"]["kumo_job"]["numEntitiesPredicted"] > 0
    looked_up = [request.path for request in kumo_emulator.requests if "/connectors/" in request.path]
    assert sorted(looked_up) == ["/api/v1/connectors/my_bigquery", "/api/v1/connectors/my_snowflake"]


def test_what_kumo_cannot_tell_is_left_out_and_the_rest_is_sent(
    kumo_emulator: LocalKumo, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = predict(
        outputs=[
            snowflake(connector_id="my_snowflake", table_name="CHURN"),
            s3(file_path="s3://acme-ml/churn.parquet"),
        ]
    )
    kumo_emulator.inject("status", path="/connectors/", status=404, count=None)
    event = sent(operator)
    assert names(event["outputs"]) == {("s3://acme-ml", "churn.parquet")}
    assert event["run"]["facets"]["kumo_job"]["status"] == "DONE"
    log = "".join(capsys.readouterr())
    assert "Left out of the lineage: Could not read connector my_snowflake: " in log
    assert kumo_emulator.api_key not in log + json.dumps(event)


def test_a_failed_job_has_written_nothing(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.fail_next("prediction", title="Out of memory", message="Ask for more workers")
    operator = KumoBatchPredictOperator(
        task_id="predict",
        pquery_id="churn_30d",
        deferrable=False,
        outputs=[s3(file_path="s3://acme-ml/churn.parquet")],
    )
    with pytest.raises(KumoJobFailedError):
        operator.execute({"ti": TaskInstance()})
    event = sent(operator)
    assert event["outputs"] == []
    assert event["run"]["facets"]["kumo_job"]["status"] == "FAILED"


def test_a_task_without_a_job_has_no_lineage(kumo_emulator: LocalKumo) -> None:
    operator = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d")
    assert operator.get_openlineage_facets_on_complete(TaskInstance()) is None
