"""The handlers of all that is not a job: connectors, groups, queries, graphs, tables."""

from __future__ import annotations

import fnmatch
import hashlib
from typing import TYPE_CHECKING, Any

from aiohttp import web
from kumoapi.graph import GraphDefinition, GraphResource, GraphValidationRequest
from kumoapi.json_serde import to_json_dict
from kumoapi.model_plan import (
    ModelPlan,
    ModelPlanInfo,
    SuggestModelPlanRequest,
    TrainingTableGenerationPlan,
)
from kumoapi.pquery import PQueryResource, QueryType
from kumoapi.source_table import SourceTableConfigRequest
from kumoapi.table import TableDefinition, TableValidationRequest
from kumoapi.task import TaskType

from airflow_provider_kumo.emulator import seeds, wire
from airflow_provider_kumo.emulator.context import STORE, answer, not_found
from airflow_provider_kumo.emulator.wire import Invalid, problem

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.records import QueryRecord


def routes() -> list[web.RouteDef]:
    """Return the routes.

    :returns: the routes.
    """
    v1 = "/api/v1"
    return [
        web.get("/api/config", _config),
        web.get(f"{v1}/connectors", _connectors),
        web.get(f"{v1}/connectors/group_connectors", _group_connectors),
        web.get(f"{v1}/connectors/{{id}}", _connector),
        web.get(f"{v1}/groups", _groups),
        web.get(f"{v1}/projects", _projects),
        web.get(f"{v1}/predictive_queries", _list_queries),
        web.post(f"{v1}/predictive_queries", _create_query),
        web.post(f"{v1}/predictive_queries/validate", _validate_query),
        web.post(f"{v1}/predictive_queries/infer_task_type", _infer_task),
        web.post(f"{v1}/predictive_queries/model_plan", _model_plan),
        web.post(f"{v1}/predictive_queries/train_table_generation_plan", _train_table_plan),
        web.get(f"{v1}/predictive_queries/{{id}}", _get_query),
        web.delete(f"{v1}/predictive_queries/{{id}}", _delete_query),
        web.post(f"{v1}/graphs", _create_graph),
        web.post(f"{v1}/graphs/validate", _validate_graph),
        web.get(f"{v1}/graphs/{{id}}", _get_graph),
        web.post(f"{v1}/graphsnapshots", _create_snapshot),
        web.get(f"{v1}/graphsnapshots/{{id}}", _get_snapshot),
        web.get(f"{v1}/tablesnapshots/{{id}}", _get_table_snapshot),
        web.post(f"{v1}/tables", _create_table),
        web.post(f"{v1}/tables/validate", _validate_table),
        web.post(f"{v1}/source_tables/get_table_config", _table_config),
        web.post(f"{v1}/source_tables/validate_table", _validate_source_table),
    ]


async def _config(request: web.Request) -> web.Response:
    return answer({"rbac": request.app[STORE].settings.rbac})


def _connector_resource(name: str, config: dict[str, Any]) -> dict[str, Any]:
    created = "2025-01-01T00:00:00Z"
    return {"id": name, "timestamps": {"created_at": created, "updated_at": created}, "config": config}


async def _connectors(request: web.Request) -> web.Response:
    connectors = request.app[STORE].connectors
    return answer([_connector_resource(name, config) for name, config in connectors.items()])


async def _connector(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    config = request.app[STORE].connectors.get(name)
    if config is None:
        raise not_found(f"Connector {name}")
    return answer(_connector_resource(name, config))


async def _group_connectors(request: web.Request) -> web.Response:
    connectors = request.app[STORE].connectors
    return answer(
        [
            {"id": name, "display_name": name, "connector_type": config["type"], "scope": None}
            for name, config in connectors.items()
        ]
    )


async def _groups(request: web.Request) -> web.Response:
    groups = request.app[STORE].groups
    return answer([{"group_id": group, "display_name": name} for group, name in groups.items()])


async def _projects(request: web.Request) -> web.Response:
    group = request.query.get("group_id")
    if group is None:
        raise Invalid(problem(["query", "group_id"], "Field required", "missing"))
    projects = request.app[STORE].projects.items()
    return answer([{"id": key, "display_name": name} for key, (of, name) in projects if of == group])


# -- predictive queries ---------------------------------------------------------------------


def _query_resource(query: QueryRecord) -> dict[str, Any]:
    return {
        "query_string": query.query_string,
        "graph": query.graph,
        "name": query.name,
        "desc": query.desc,
    }


async def _list_queries(request: web.Request) -> web.Response:
    pattern = request.query.get("name_pattern", "*")
    if not set("*?[") & set(pattern):
        pattern = f"*{pattern}*"
    queries = request.app[STORE].queries.values()
    return answer([_query_resource(query) for query in queries if fnmatch.fnmatchcase(query.name, pattern)])


async def _get_query(request: web.Request) -> web.Response:
    return answer(_query_resource(_query(request)))


async def _delete_query(request: web.Request) -> web.Response:
    query = _query(request)
    store = request.app[STORE]
    del store.queries[query.id]
    store.changed()
    return answer({"id": query.id})


def _query(request: web.Request) -> QueryRecord:
    name = request.match_info["id"]
    query = request.app[STORE].query(name)
    if query is None:
        raise not_found(f"Predictive query {name}")
    return query


async def _create_query(request: web.Request) -> web.Response:
    store = request.app[STORE]
    _, resource = wire.parse_body(await request.read(), PQueryResource)
    errors = _query_errors(resource)
    if errors:
        raise Invalid(" ".join(message for _, message in errors))
    digest = hashlib.sha256(resource["query_string"].encode("utf-8", "backslashreplace")).hexdigest()
    name = resource["name"] or f"query_{digest[:12]}"
    known = store.query(name)
    query = seeds.make_query(
        name=known.name if known else name,
        query_string=resource["query_string"],
        graph=resource["graph"],
        desc=resource["desc"] or "",
    )
    if known is not None:
        query.id, query.entities = known.id, known.entities
    store.save_query(query)
    return answer({"id": query.id})


async def _validate_query(request: web.Request) -> web.Response:
    _, resource = wire.parse_body(await request.read(), PQueryResource)
    return answer(wire.validation(errors=_query_errors(resource)))


def _query_errors(resource: dict[str, Any]) -> list[tuple[str, str]]:
    words = resource["query_string"].upper().split()
    errors = []
    if words[:1] != ["PREDICT"] or "FOR" not in words:
        errors.append(("Invalid query", "A predictive query has the form PREDICT ... FOR EACH ...."))
    return errors + _graph_errors(resource["graph"])


async def _infer_task(request: web.Request) -> web.Response:
    query_string = request.query.get("pquery_string")
    if query_string is None:
        raise Invalid(problem(["query", "pquery_string"], "Field required", "missing"))
    return answer([seeds.task_of(query_string), query_string])


async def _model_plan(request: web.Request) -> web.Response:
    parsed, _ = wire.parse_body(await request.read(), SuggestModelPlanRequest)
    info = ModelPlanInfo(
        model_plan=ModelPlan(),
        task_type=TaskType(seeds.task_of(parsed.query_string)),
        query_type=QueryType.TEMPORAL,
    )
    return answer(to_json_dict(info))


async def _train_table_plan(request: web.Request) -> web.Response:
    wire.parse_body(await request.read(), SuggestModelPlanRequest)
    return answer(to_json_dict(TrainingTableGenerationPlan()))


# -- graphs and tables ----------------------------------------------------------------------


def _graph_errors(graph: dict[str, Any]) -> list[tuple[str, str]]:
    """Check what the schema cannot: that tables and columns which are named exist."""
    columns = {name: {col["name"] for col in table["cols"]} for name, table in graph["tables"].items()}
    errors = []
    for group in graph["col_groups"]:
        for key in group["columns"]:
            table, column = key["table_name"], key["col_name"]
            if table not in columns:
                errors.append(("Unknown table", f"The graph links table {table}, which it does not have."))
            elif column not in columns[table]:
                errors.append(("Unknown column", f"Table {table} has no column {column}."))
    for name, table in graph["tables"].items():
        errors += _table_errors(name, table)
    return errors


def _table_errors(name: str, table: dict[str, Any]) -> list[tuple[str, str]]:
    columns = {col["name"] for col in table["cols"]}
    return [
        ("Unknown column", f"{role} {table[role]} is not a column of table {name}.")
        for role in ("pkey", "time_col", "end_time_col")
        if table[role] is not None and table[role] not in columns
    ]


async def _create_graph(request: web.Request) -> web.Response:
    _, graph = wire.parse_body(await request.read(), GraphDefinition)
    errors = _graph_errors(graph)
    if errors:
        raise Invalid(" ".join(message for _, message in errors))
    record = request.app[STORE].save_graph(graph, name_alias=request.query.get("name_alias"))
    return answer({"id": record.id})


async def _get_graph(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    record = request.app[STORE].graph(name)
    if record is None:
        raise not_found(f"Graph {name}")
    resource = {"id": record.id, "graph": record.graph, "name_alias": record.name_alias}
    return answer(wire.parse_value(resource, GraphResource)[1])


async def _validate_graph(request: web.Request) -> web.Response:
    _, body = wire.parse_body(await request.read(), GraphValidationRequest)
    return answer(wire.validation(errors=_graph_errors(body["graph_definition"])))


async def _create_snapshot(request: web.Request) -> web.Response:
    graph_id = request.query.get("graph_id")
    if graph_id is None:
        raise Invalid(problem(["query", "graph_id"], "Field required", "missing"))
    store = request.app[STORE]
    graph = store.graph(graph_id)
    if graph is None:
        raise not_found(f"Graph {graph_id}")
    refresh = request.query.get("refresh_source", "false").lower()
    if refresh not in ("true", "false", "1", "0"):
        raise Invalid(problem(["query", "refresh_source"], "Input should be a valid boolean", "bool_parsing"))
    return answer({"id": store.take_snapshot(graph, refresh=refresh in ("true", "1")).id})


async def _get_snapshot(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    store = request.app[STORE]
    record = store.snapshots.get(name)
    if record is None:
        raise not_found(f"Graph snapshot {name}")
    return answer(wire.snapshot_body(record, store.clock()))


async def _get_table_snapshot(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    store = request.app[STORE]
    for record in store.snapshots.values():
        if name in record.table_ids.values():
            return answer(wire.table_snapshot_body(record, name, store.clock()))
    raise not_found(f"Table snapshot {name}")


async def _create_table(request: web.Request) -> web.Response:
    _, table = wire.parse_body(await request.read(), TableDefinition)
    errors = _table_errors("", table)
    if errors:
        raise Invalid(" ".join(message for _, message in errors))
    digest = hashlib.sha256(wire.dumps(table)).hexdigest()
    return answer({"id": f"table-{digest[:16]}"})


async def _validate_table(request: web.Request) -> web.Response:
    _, body = wire.parse_body(await request.read(), TableValidationRequest)
    return answer(wire.validation(errors=_table_errors("", body["table_definition"])))


async def _table_config(request: web.Request) -> web.Response:
    _, body = wire.parse_body(await request.read(), SourceTableConfigRequest)
    connector = request.app[STORE].connectors.get(body["connector_id"] or "", {})
    if body["root_dir"]:
        connector = {"root_dir": body["root_dir"].rstrip("/") + "/"}
    return answer({"source_table": seeds.source_table(body["table_name"], connector)})


async def _validate_source_table(request: web.Request) -> web.Response:
    wire.load_json(await request.read())
    return answer({"is_valid": True, "msg": ""})
