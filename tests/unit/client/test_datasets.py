"""Names of datasets, from what Kumo's own schema says that outputs, source tables and connectors are."""

from __future__ import annotations

from typing import Any

import pytest
from kumoapi.data_source import (
    BigQueryConnectorResourceConfig,
    ConnectorResponse,
    DatabricksConnectorResourceConfig,
    FileConnectorResourceConfig,
    ResourceTimestamps,
    SnowflakeConnectorResourceConfig,
)
from kumoapi.json_serde import to_json_dict
from kumoapi.source_table import (
    ADLSSourceTable,
    BigQuerySourceTable,
    DatabricksSourceTable,
    GCSSourceTable,
    GlueSourceTable,
    S3SourceTable,
    SnowflakeSourceTable,
    UnavailableSourceTable,
)

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.datasets import (
    Connector,
    connector_of_output,
    connector_of_source,
    name_output,
    name_source,
    parse_connector,
    sources_of,
)
from airflow_provider_kumo.client.jobs import UnreadableError
from airflow_provider_kumo.outputs import adls, bigquery, databricks, gcs, local, s3, snowflake

CONFIGS = {
    "snow": SnowflakeConnectorResourceConfig(
        name="snow", account="ACME-EU1", warehouse="WH", database="SHOP", schema_name="PUBLIC"
    ),
    "bq": BigQueryConnectorResourceConfig(name="bq", project_id="acme-shop", dataset_id="public"),
    "dbx": DatabricksConnectorResourceConfig(
        name="dbx", host="https://adb-1.2.azuredatabricks.net/", cluster_id="", warehouse_id="w", catalog="main"
    ),
    "files": FileConnectorResourceConfig(name="files", root_dir="s3://acme/kumo/"),
}


def connector(name: str | None) -> Connector | None:
    """Return a connector as it comes from Kumo."""
    if name not in CONFIGS:
        return None
    timestamps = ResourceTimestamps(created_at="2026-01-01T00:00:00Z", updated_at="2026-01-01T00:00:00Z")
    return parse_connector(to_json_dict(ConnectorResponse(id=name, timestamps=timestamps, config=CONFIGS[name])))


def _named(found: Any) -> tuple[str, str] | None:
    return None if found is None else (found.namespace, found.name)


@pytest.mark.parametrize(
    ("output", "name"),
    [
        (snowflake(connector_id="snow", table_name="CHURN"), ("snowflake://ACME-EU1", "SHOP.PUBLIC.CHURN")),
        (snowflake(connector_id="snow", table_name="ML.CHURN"), ("snowflake://ACME-EU1", "SHOP.ML.CHURN")),
        (snowflake(connector_id="snow", table_name="DW.ML.CHURN"), ("snowflake://ACME-EU1", "DW.ML.CHURN")),
        (snowflake(connector_id="snow", table_name="A.B.C.D"), None),
        (snowflake(connector_id="gone", table_name="CHURN"), None),
        (snowflake(connector_id="files", table_name="CHURN"), None),
        (bigquery(connector_id="bq", table_name="churn"), ("bigquery", "acme-shop.public.churn")),
        (bigquery(connector_id="bq", table_name="ml.churn"), ("bigquery", "acme-shop.ml.churn")),
        (
            databricks(connector_id="dbx", table_name="ml.churn"),
            ("databricks://adb-1.2.azuredatabricks.net", "main.ml.churn"),
        ),
        (databricks(connector_id="dbx", table_name="churn"), None),
        (s3(file_path="s3://acme/churn/2026.parquet"), ("s3://acme", "churn/2026.parquet")),
        (s3(file_path="s3://acme/churn/{{PARTITION}}.parquet", connector_id="files"), ("s3://acme", "churn")),
        (s3(file_path="s3://acme/churn/2026/part-{{PARTITION}}.parquet"), ("s3://acme", "churn/2026")),
        (s3(file_path="s3://acme/{{PARTITION}}.parquet"), ("s3://acme", "/")),
        (s3(file_path="s3a://acme/churn/"), ("s3://acme", "churn")),
        (s3(file_path="churn/2026.parquet"), None),
        (gcs(file_path="gs://acme/churn.csv"), ("gs://acme", "churn.csv")),
        (
            adls(file_path="abfs://data@acme.dfs.core.windows.net/churn.csv"),
            ("abfss://data@acme.dfs.core.windows.net", "churn.csv"),
        ),
        (adls(file_path="https://acme/churn.csv"), None),
        (local(), None),
    ],
    ids=str,
)
def test_outputs_have_openlineages_names_or_none(output: Any, name: tuple[str, str] | None) -> None:
    assert _named(name_output(output, connector(connector_of_output(output)))) == name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (SnowflakeSourceTable("snow", "SHOP", "RAW", "USERS"), ("snowflake://ACME-EU1", "SHOP.RAW.USERS")),
        (SnowflakeSourceTable("gone", "SHOP", "RAW", "USERS"), None),
        (BigQuerySourceTable("gone", "users", "acme-shop", "raw"), ("bigquery", "acme-shop.raw.users")),
        (DatabricksSourceTable("dbx", "raw.users"), ("databricks://adb-1.2.azuredatabricks.net", "main.raw.users")),
        (DatabricksSourceTable("gone", "raw.users"), None),
        (GlueSourceTable("g", "users", "123", "eu-west-1", "raw"), ("arn:aws:glue:eu-west-1:123", "table/raw/users")),
        (S3SourceTable("s3://acme/users/"), ("s3://acme", "users")),
        (S3SourceTable("", connector_id="own", source_table_name="users"), None),
        (GCSSourceTable("gs://acme/users.parquet"), ("gs://acme", "users.parquet")),
        (
            ADLSSourceTable("abfss://data@acme.dfs.core.windows.net/users/"),
            ("abfss://data@acme.dfs.core.windows.net", "users"),
        ),
        (UnavailableSourceTable("users"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_source_tables_have_openlineages_names_or_none(source: Any, name: tuple[str, str] | None) -> None:
    body = to_json_dict(source)
    assert _named(name_source(body, connector(connector_of_source(body)))) == name


def test_a_connector_is_asked_for_by_its_name() -> None:
    call = calls.get_connector("my snowflake")
    assert (call.method, call.path) == ("GET", "/v1/connectors/my%20snowflake")


@pytest.mark.parametrize("body", [None, [], {}, {"config": None}, {"config": {"type": 3}}])
def test_what_is_no_connector_is_an_error_and_no_name(body: Any) -> None:
    with pytest.raises(UnreadableError):
        parse_connector(body)


@pytest.mark.parametrize(
    "graph", [{}, {"tables": None}, {"tables": {"users": {}}}, {"tables": {"users": {"source_table": 1}}}]
)
def test_a_graph_of_another_shape_has_no_sources(graph: Any) -> None:
    assert sources_of(graph) == []
