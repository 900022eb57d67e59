"""Where a batch prediction writes, one function per storage.

Each returns one element of ``KumoBatchPredictOperator(outputs=[...])``: a plain dict, so that its texts are
templated. An output carries one artifact; for predictions and embeddings give two outputs.

In a path of S3, ``{{PARTITION}}`` is Kumo's own placeholder for the number of a part file; it survives templating.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

ArtifactType = Literal["PREDICTIONS", "EMBEDDINGS"]
WriteMode = Literal["OVERWRITE", "APPEND"]
ExtraField = Literal["ANCHOR_TIMESTAMP", "JOB_TIMESTAMP"]


class Output(TypedDict):
    """What every output has."""

    storage_type: str
    artifact_type: ArtifactType
    extra_fields: list[ExtraField]


class TableOutput(Output):
    """A table behind a connector of Kumo."""

    connector_id: str
    table_name: str
    write_mode: NotRequired[WriteMode]
    staging_table_name: NotRequired[str]


class FileOutput(Output):
    """A file or folder in an object store."""

    file_path: str
    connector_id: NotRequired[str]


def snowflake(
    *,
    connector_id: str,
    table_name: str,
    artifact_type: ArtifactType = "PREDICTIONS",
    write_mode: WriteMode = "OVERWRITE",
    extra_fields: Sequence[ExtraField] = (),
) -> TableOutput:
    """Write to a Snowflake table.

    :param connector_id: name of the connector in Kumo.
    :param table_name: the table.
    :param artifact_type: predictions or embeddings.
    :param write_mode: replace the table's rows or add to them; with APPEND, ask for JOB_TIMESTAMP.
    :param extra_fields: columns to add.
    """
    return {
        "storage_type": "SNOWFLAKE",
        "artifact_type": artifact_type,
        "connector_id": connector_id,
        "table_name": table_name,
        "write_mode": write_mode,
        "extra_fields": list(extra_fields),
    }


def bigquery(
    *,
    connector_id: str,
    table_name: str,
    artifact_type: ArtifactType = "PREDICTIONS",
    write_mode: WriteMode = "OVERWRITE",
    staging_table_name: str | None = None,
    extra_fields: Sequence[ExtraField] = (),
) -> TableOutput:
    """Write to a BigQuery table.

    :param connector_id: name of the connector in Kumo.
    :param table_name: the table.
    :param artifact_type: predictions or embeddings.
    :param write_mode: OVERWRITE goes through a staging table that replaces the table at once; APPEND adds rows.
    :param staging_table_name: name of the staging table; None lets Kumo name it.
    :param extra_fields: columns to add.
    """
    output: TableOutput = {
        "storage_type": "BIGQUERY",
        "artifact_type": artifact_type,
        "connector_id": connector_id,
        "table_name": table_name,
        "write_mode": write_mode,
        "extra_fields": list(extra_fields),
    }
    if staging_table_name is not None:
        output["staging_table_name"] = staging_table_name
    return output


def databricks(
    *,
    connector_id: str,
    table_name: str,
    artifact_type: ArtifactType = "PREDICTIONS",
    extra_fields: Sequence[ExtraField] = (),
) -> TableOutput:
    """Write to a Databricks table, named ``schema.table``. Kumo offers no write mode here.

    :param connector_id: name of the connector in Kumo.
    :param table_name: schema and table.
    :param artifact_type: predictions or embeddings.
    :param extra_fields: columns to add.
    """
    return {
        "storage_type": "DATABRICKS",
        "artifact_type": artifact_type,
        "connector_id": connector_id,
        "table_name": table_name,
        "extra_fields": list(extra_fields),
    }


def s3(
    *,
    file_path: str,
    connector_id: str | None = None,
    artifact_type: ArtifactType = "PREDICTIONS",
    extra_fields: Sequence[ExtraField] = (),
) -> FileOutput:
    """Write to Amazon S3.

    :param file_path: such as ``s3://bucket/churn/{{ params.day }}/part-{{PARTITION}}.parquet``.
    :param connector_id: name of the connector in Kumo; required when Kumo's access control is on.
    :param artifact_type: predictions or embeddings.
    :param extra_fields: columns to add.
    """
    return _file("S3", file_path, connector_id, artifact_type, extra_fields)


def gcs(
    *,
    file_path: str,
    connector_id: str | None = None,
    artifact_type: ArtifactType = "PREDICTIONS",
    extra_fields: Sequence[ExtraField] = (),
) -> FileOutput:
    """Write to Google Cloud Storage, ``gs://…``. Parameters as of :func:`s3`."""
    return _file("GCS", file_path, connector_id, artifact_type, extra_fields)


def adls(
    *,
    file_path: str,
    connector_id: str | None = None,
    artifact_type: ArtifactType = "PREDICTIONS",
    extra_fields: Sequence[ExtraField] = (),
) -> FileOutput:
    """Write to Azure Data Lake Storage, ``abfss://…``. Parameters as of :func:`s3`."""
    return _file("ADLS", file_path, connector_id, artifact_type, extra_fields)


def local(*, artifact_type: ArtifactType = "PREDICTIONS", extra_fields: Sequence[ExtraField] = ()) -> Output:
    """Keep the result in Kumo's own storage, for download.

    :param artifact_type: predictions or embeddings.
    :param extra_fields: columns to add.
    """
    return {"storage_type": "LOCAL", "artifact_type": artifact_type, "extra_fields": list(extra_fields)}


def _file(
    storage_type: str,
    file_path: str,
    connector_id: str | None,
    artifact_type: ArtifactType,
    extra_fields: Sequence[ExtraField],
) -> FileOutput:
    output: FileOutput = {
        "storage_type": storage_type,
        "artifact_type": artifact_type,
        "file_path": file_path,
        "extra_fields": list(extra_fields),
    }
    if connector_id is not None:
        output["connector_id"] = connector_id
    return output
