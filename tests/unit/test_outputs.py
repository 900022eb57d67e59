from __future__ import annotations

import pytest
from kumoapi.jobs import BatchPredictionRequest
from kumoapi.json_serde import from_json

from airflow_provider_kumo import outputs
from airflow_provider_kumo.client.requests import check_outputs, prediction_request

TABLE = {"connector_id": "my_connector", "table_name": "churn"}
FILE = {"file_path": "s3://bucket/{{ ds }}/part-{{PARTITION}}.parquet"}
EVERY = [
    (outputs.snowflake, TABLE, "SNOWFLAKE"),
    (outputs.bigquery, TABLE, "BIGQUERY"),
    (outputs.databricks, TABLE, "DATABRICKS"),
    (outputs.s3, FILE, "S3"),
    (outputs.gcs, FILE, "GCS"),
    (outputs.adls, FILE, "ADLS"),
    (outputs.local, {}, "LOCAL"),
]


@pytest.mark.parametrize(("make", "fields", "storage_type"), EVERY)
@pytest.mark.parametrize("artifact_type", ["PREDICTIONS", "EMBEDDINGS"])
def test_an_output_is_taken_by_the_check_and_by_kumos_schema(make, fields, storage_type, artifact_type):
    output = make(**fields, artifact_type=artifact_type, extra_fields=["JOB_TIMESTAMP"])
    assert output["storage_type"] == storage_type
    assert check_outputs([output]) == [output]
    body = prediction_request(training_job_id="trainingjob-1", outputs=[output])
    (parsed,) = from_json(body, BatchPredictionRequest).outputs
    assert (parsed.storage_type, parsed.artifact_type.value) == (storage_type, artifact_type)
    assert [field.value for field in parsed.extra_fields] == ["JOB_TIMESTAMP"]


@pytest.mark.parametrize(("make", "fields", "storage_type"), EVERY)
def test_an_output_holds_predictions_unless_told_otherwise(make, fields, storage_type):
    output = make(**fields)
    assert (output["artifact_type"], output["extra_fields"]) == ("PREDICTIONS", [])
    assert fields.items() <= output.items()
    assert None not in output.values()


@pytest.mark.parametrize("make", [outputs.snowflake, outputs.bigquery])
def test_a_table_is_overwritten_unless_told_otherwise(make):
    assert make(**TABLE)["write_mode"] == "OVERWRITE"
    assert make(**TABLE, write_mode="APPEND")["write_mode"] == "APPEND"


def test_a_staging_table_is_sent_only_if_it_is_named():
    assert "staging_table_name" not in outputs.bigquery(**TABLE)
    output = outputs.bigquery(**TABLE, staging_table_name="staging")
    assert check_outputs([output])[0]["staging_table_name"] == "staging"


@pytest.mark.parametrize("make", [outputs.s3, outputs.gcs, outputs.adls])
def test_a_connector_of_an_object_store_is_sent_only_if_it_is_named(make):
    assert "connector_id" not in make(**FILE)
    assert make(**FILE, connector_id="my_s3")["connector_id"] == "my_s3"
