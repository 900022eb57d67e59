"""What Kumo reads and writes, named as OpenLineage names datasets. Pure: text in, names out.

The rules are those of OpenLineage's page "Naming Conventions" (openlineage.io/docs/spec/naming). It has none for
Databricks; ``databricks://<host>`` is what OpenLineage's own integration for dbt uses. Only a connector tells account,
database, host or project: without it a table has no name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_kumo.client.jobs import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATH = re.compile(r"([a-z][a-z0-9]*)://([^/]+)(?:/(.*))?", re.DOTALL)
_SCHEMES = {
    "s3": "s3",
    "s3a": "s3",
    "s3n": "s3",
    "gs": "gs",
    "abfs": "abfss",
    "abfss": "abfss",
    "wasb": "wasbs",
    "wasbs": "wasbs",
}
_SOURCE_PATHS = {"S3": "s3_path", "GCS": "gcs_path", "ADLS": "adls_path"}
_SOURCE_CONNECTORS = {
    "SNOWFLAKE": "snowflake_connector_id",
    "DATABRICKS": "databricks_connector_id",
    "BIGQUERY": "bigquery_connector_id",
}


# A whole name: database, schema and table, or what a warehouse calls them.
_PARTS = 3


@dataclass(frozen=True, kw_only=True)
class Connector:
    """A connector of Kumo, which says where its tables are.

    :param kind: ``snowflake``, ``bigquery``, ``databricks``, ``file`` or ``glue``.
    :param settings: its configuration as Kumo sent it, which holds no credentials.
    """

    kind: str
    settings: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, order=True)
class DatasetName:
    """The name of a dataset in OpenLineage."""

    namespace: str
    name: str


def parse_connector(body: Any) -> Connector:
    """Read a ConnectorResponse of Kumo's schema.

    :param body: decoded JSON of any content.
    :raises UnreadableError: it does not say what kind of connector it is.
    """
    config = body.get("config") if isinstance(body, dict) else None
    if not isinstance(config, dict) or not isinstance(config.get("type"), str):
        raise UnreadableError("the answer holds no type of connector")
    return Connector(
        kind=config["type"], settings={key: value for key, value in config.items() if isinstance(value, str)}
    )


def connector_of_output(output: Mapping[str, Any]) -> str | None:
    """Return the connector without which an output has no name, or None if it needs none."""
    return output.get("connector_id") if "table_name" in output else None


def sources_of(graph: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the source tables of a GraphDefinition of Kumo's schema."""
    tables = graph.get("tables")
    found = [table.get("source_table") for table in (tables.values() if isinstance(tables, dict) else ())]
    return [source for source in found if isinstance(source, dict)]


def connector_of_source(source: Mapping[str, Any]) -> str | None:
    """Return the connector without which a source table has no name, or None if it needs none."""
    return source.get(_SOURCE_CONNECTORS.get(str(source.get("data_source_type")), ""))


def name_output(output: Mapping[str, Any], connector: Connector | None) -> DatasetName | None:
    """Name where a batch prediction writes.

    :param output: an output of the request (see :mod:`airflow_provider_kumo.outputs`). A path with Kumo's placeholder
        for part files is named by their folder.
    :param connector: the one that it names, if that could be read.
    :returns: the name, or None for what cannot be named: Kumo's own storage, or a table whose connector is not known.
    """
    if "file_path" in output:
        return _file(output["file_path"])
    return _table(output.get("table_name"), connector)


def name_source(source: Mapping[str, Any], connector: Connector | None) -> DatasetName | None:
    """Name a table that a graph reads.

    :param source: the source table in the graph's definition.
    :param connector: the one that it names, if that could be read.
    :returns: the name, or None for what cannot be named.
    """
    kind = str(source.get("data_source_type"))
    if kind in _SOURCE_PATHS:
        return _file(source.get(_SOURCE_PATHS[kind]))
    if kind == "GLUE":
        return _named("arn:aws:glue:{region}:{account}", "table/{database}/{table}", source)
    if kind == "BIGQUERY":
        return _named("bigquery", "{project_id}.{dataset_id}.{table_name}", source)
    if kind == "SNOWFLAKE":
        account = connector.settings if connector is not None and connector.kind == "snowflake" else {}
        return _named("snowflake://{account}", "{database}.{schema_name}.{table}", {**account, **source})
    return _table(source.get("table"), connector)


def _table(table_name: Any, connector: Connector | None) -> DatasetName | None:
    """Name a table by its connector, which completes a name that is not qualified."""
    place = _PLACES.get("" if connector is None else connector.kind)
    if connector is None or place is None or not isinstance(table_name, str) or not table_name:
        return None
    missing = _PARTS - len(table_name.split("."))
    if not 0 <= missing <= len(place.qualifiers):
        return None
    name = ".".join(f"{{{key}}}" for key in (*place.qualifiers[:missing], "table"))
    return _named(place.namespace, name, {**connector.settings, "table": table_name})


@dataclass(frozen=True)
class _Place:
    """How the tables of a warehouse are named.

    :param namespace: a template over the connector's settings.
    :param qualifiers: which settings qualify a table, outermost first.
    """

    namespace: str
    qualifiers: tuple[str, ...]


_PLACES = {
    "snowflake": _Place("snowflake://{account}", ("database", "schema_name")),
    "bigquery": _Place("bigquery", ("project_id", "dataset_id")),
    # The connector has no schema: Kumo takes it in the name of the table.
    "databricks": _Place("databricks://{host}", ("catalog",)),
}


def _file(path: Any) -> DatasetName | None:
    found = _PATH.fullmatch(path) if isinstance(path, str) else None
    if found is None or found[1] not in _SCHEMES:
        return None
    key = found[3] or ""
    if "{{" in key:
        key = key[: key.index("{{")].rpartition("/")[0]
    return DatasetName(namespace=f"{_SCHEMES[found[1]]}://{found[2]}", name=key.strip("/") or "/")


def _named(namespace: str, name: str, facts: Mapping[str, Any]) -> DatasetName | None:
    """Fill two templates, or return None if a fact is missing."""
    known = {key: _bare(value) for key, value in facts.items() if isinstance(value, str) and _bare(value)}
    try:
        return DatasetName(namespace=namespace.format_map(known), name=name.format_map(known))
    except KeyError:
        return None


def _bare(value: str) -> str:
    # Kumo takes a host with its scheme, too.
    return re.sub(r"^https?://", "", value.strip()).rstrip("/")
