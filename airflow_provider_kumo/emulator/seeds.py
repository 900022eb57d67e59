"""What a fresh local Kumo holds: three queries, three connectors, a trained model each."""

from __future__ import annotations

import re
from typing import Any

from kumoapi.graph import GraphDefinition
from kumoapi.jobs import BatchPredictionRequest, TrainingJobRequest

from airflow_provider_kumo.emulator import lifecycle
from airflow_provider_kumo.emulator.records import JobRecord, Kind, QueryRecord
from airflow_provider_kumo.emulator.store import DEFAULT_PROJECT, Store
from airflow_provider_kumo.emulator.wire import Invalid, parse_value

DAY = 86_400.0

#: Of a column: name, semantic type, data type.
Columns = tuple[tuple[str, str, str], ...]

_USERS: Columns = (
    ("user_id", "ID", "int"),
    ("country", "categorical", "string"),
    ("signed_up_at", "timestamp", "date"),
)
_ORDERS: Columns = (
    ("order_id", "ID", "int"),
    ("user_id", "ID", "int"),
    ("item_id", "ID", "int"),
    ("price", "numerical", "float"),
    ("ordered_at", "timestamp", "date"),
)
_ITEMS: Columns = (
    ("item_id", "ID", "int"),
    ("category", "categorical", "string"),
    ("title", "text", "string"),
)

_SEEDS = (
    (
        "churn_30d",
        "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.user_id",
        "Will a user place no order in the next 30 days?",
        "my_snowflake",
        1_250_000,
    ),
    (
        "ltv_90d",
        "PREDICT SUM(orders.price, 0, 90, days) FOR EACH users.user_id",
        "How much will a user spend in the next 90 days?",
        "my_bigquery",
        1_250_000,
    ),
    (
        "next_purchase",
        "PREDICT LIST_DISTINCT(orders.item_id, 0, 14, days) RANK TOP 10 FOR EACH users.user_id",
        "Which items will a user buy in the next 14 days?",
        "my_s3",
        840_000,
    ),
)

_CONNECTORS: dict[str, dict[str, Any]] = {
    "my_snowflake": {
        "type": "snowflake",
        "name": "my_snowflake",
        "account": "acme-eu1",
        "warehouse": "COMPUTE_WH",
        "database": "SHOP",
        "schema_name": "PUBLIC",
    },
    "my_s3": {"type": "file", "name": "my_s3", "root_dir": "s3://acme-shop/kumo/"},
    "my_bigquery": {
        "type": "bigquery",
        "name": "my_bigquery",
        "project_id": "acme-shop",
        "dataset_id": "public",
    },
}


def seed(store: Store) -> None:
    """Fill an empty store.

    :param store: the store.
    """
    store.connectors.update(_CONNECTORS)
    for age, (name, query_string, desc, connector, entities) in enumerate(_SEEDS, 2):
        query = make_query(
            name=name, query_string=query_string, graph=shop_graph(connector), desc=desc, entities=entities
        )
        store.save_query(query)
        store.save_graph(query.graph)
        store.adopt(past_jobs(store, query, count=1, before=age))


def query_id(name: str) -> str:
    """Make the id of a predictive query from its name.

    :param name: the name, for example ``churn_30d``.
    :returns: the id, for example ``pquery-churn-30d``.
    """
    return "pquery-" + re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").lower()


def task_of(query_string: str) -> str:
    """Guess what kind of task a predictive query is.

    :param query_string: the query.
    :returns: a value of Kumo's ``TaskType``.
    """
    target = re.split(r"\bFOR\s+EACH\b", query_string, maxsplit=1, flags=re.IGNORECASE)[0]
    if re.search(r"\bRANK\s+TOP\b|\bLIST_DISTINCT\b", target, re.IGNORECASE):
        return "temporal_link_prediction"
    if re.search(r"[<>=]|\bIS\b|\bLIKE\b|\bNOT\b", target, re.IGNORECASE):
        return "binary_classification"
    return "regression"


def make_query(
    *, name: str, query_string: str, graph: dict[str, Any], desc: str = "", entities: int = 100_000
) -> QueryRecord:
    """Make a predictive query.

    :param name: its name.
    :param query_string: the query.
    :param graph: the graph definition as JSON.
    :param desc: what it is for.
    :param entities: how many entities a batch prediction scores.
    :returns: the query.
    :raises Invalid: if the graph is not what Kumo's schema asks for.
    """
    normalised = parse_value(graph, GraphDefinition)[1]
    return QueryRecord(
        id=query_id(name),
        name=name,
        query_string=query_string,
        graph=normalised,
        desc=desc,
        task=task_of(query_string),
        entities=entities,
    )


def shop_graph(connector: str) -> dict[str, Any]:
    """Return the graph of a small web shop: users, orders and items.

    :param connector: name of the connector that the tables are read through.
    :returns: a graph definition as JSON.
    """
    return {
        "tables": {
            "users": _table("users", _USERS, connector, pkey="user_id", time_col="signed_up_at"),
            "orders": _table("orders", _ORDERS, connector, pkey="order_id", time_col="ordered_at"),
            "items": _table("items", _ITEMS, connector, pkey="item_id"),
        },
        "col_groups": [_link("users", "user_id"), _link("items", "item_id")],
    }


def _link(table: str, column: str) -> dict[str, Any]:
    return {
        "columns": [
            {"table_name": "orders", "col_name": column},
            {"table_name": table, "col_name": column},
        ]
    }


def _table(name: str, columns: Columns, connector: str, *, pkey: str, time_col: str | None = None) -> dict[str, Any]:
    return {
        "cols": [{"name": column, "stype": stype, "dtype": dtype} for column, stype, dtype in columns],
        "source_table": source_table(name, _CONNECTORS.get(connector, {})),
        "pkey": pkey,
        "time_col": time_col,
    }


def source_table(name: str, connector: dict[str, Any]) -> dict[str, Any]:
    """Return where a table of a connector is read from.

    :param name: name of the table.
    :param connector: the connector's configuration; an empty one means S3.
    :returns: a source table as JSON.
    """
    if connector.get("type") == "snowflake":
        return {
            "data_source_type": "SNOWFLAKE",
            "snowflake_connector_id": connector["name"],
            "database": connector["database"],
            "schema_name": connector["schema_name"],
            "table": name.upper(),
        }
    if connector.get("type") == "bigquery":
        return {
            "data_source_type": "BIGQUERY",
            "bigquery_connector_id": connector["name"],
            "table_name": name,
            "project_id": connector["project_id"],
            "dataset_id": connector["dataset_id"],
        }
    root = connector.get("root_dir", "s3://acme-shop/kumo/")
    return {"data_source_type": "S3", "s3_path": f"{root}{name}.parquet"}


def past_jobs(
    store: Store,
    query: QueryRecord,
    *,
    count: int,
    kind: Kind = Kind.TRAINING,
    days: float = 90.0,
    before: float = 0.0,
    tags: dict[str, str] | None = None,
) -> list[JobRecord]:
    """Make jobs that were done in the past, spread evenly over some days.

    :param store: draws their ids.
    :param query: the predictive query.
    :param count: how many.
    :param kind: training jobs, or batch predictions of the query's newest model.
    :param days: over how many days.
    :param before: how many days ago those days end.
    :param tags: custom tags of all of them.
    :returns: the jobs, oldest first; they are not in the store yet.
    :raises Invalid: if there is no model to predict with, or the kind has no past.
    """
    config = _past_config(store, query, kind, tags or {})
    system_tags = {"pquery_name": query.name, "pquery_id": query.id}
    if kind is Kind.PREDICTION:
        system_tags["model_id"] = config["model_training_job_id"]
    # The newest of them has ended some hours before now, however long it took.
    newest = store.clock() - before * DAY - 2 * lifecycle.SHAPES[kind].longest
    jobs = []
    for number in range(count):
        created = newest - days * DAY * (count - 1 - number) / count
        job = store.new_job(kind, query=query, config=config, system_tags=system_tags, created_at=created, speed=1.0)
        job.started_at = lifecycle.ready_at(job)
        job.started_by = "past"
        job.project_id = DEFAULT_PROJECT if store.settings.rbac else None
        jobs.append(job)
    return jobs


def _past_config(store: Store, query: QueryRecord, kind: Kind, tags: dict[str, str]) -> dict[str, Any]:
    if kind is Kind.TRAINING:
        return parse_value({"job_tags": tags, "pquery_id": query.id}, TrainingJobRequest)[1]
    if kind is not Kind.PREDICTION:
        raise Invalid(f"Past jobs of kind {kind.value} cannot be made.")
    models = store.listed(Kind.TRAINING, tags={"pquery_id": query.id}, status="DONE")
    if not models:
        raise Invalid(f"Predictive query {query.name} has no model to predict with.")
    model = max(models, key=lambda job: job.created_at)
    request = {"job_tags": tags, "model_training_job_id": model.id, "predict_options": {}}
    return parse_value(request, BatchPredictionRequest)[1]
