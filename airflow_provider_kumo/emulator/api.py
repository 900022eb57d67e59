"""The handlers of Kumo's jobs: training, batch prediction and table generation."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from aiohttp import web
from kumoapi.common import JobStatus, ValidationWarning
from kumoapi.jobs import (
    BatchPredictionRequest,
    GeneratePredictionTableRequest,
    GenerateTrainTableRequest,
    TrainingJobRequest,
)

from airflow_provider_kumo.emulator import lifecycle, wire
from airflow_provider_kumo.emulator.context import STORE, answer, not_found
from airflow_provider_kumo.emulator.records import JobRecord, Kind, QueryRecord
from airflow_provider_kumo.emulator.wire import Invalid, problem

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.lifecycle import JobView
    from airflow_provider_kumo.emulator.store import Store

#: Tags that Kumo sets itself.
SYSTEM_TAGS = frozenset({"pquery_name", "pquery_id", "model_id"})

#: Parameters of a list that are not tags.
_NOT_TAGS = frozenset({"job_status", "limit", "group_id", "project_id"})

_TAG_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TAG_VALUE_LENGTH = 256

#: How far ahead of now an anchor time may lie, in seconds.
_AHEAD = 86_400.0

#: Seconds a signed URL is good for.
_URL_SECONDS = 3600

#: More experiments than anybody waits for.
_MOST_EXPERIMENTS = 64


@dataclass(frozen=True, slots=True)
class _Resource:
    path: str
    label: str
    kind: Kind


_TRAINING = _Resource("training_jobs", "Training job", Kind.TRAINING)
_PREDICTION = _Resource("prediction_jobs", "Prediction job", Kind.PREDICTION)
_TRAIN_TABLE = _Resource("gentraintable_jobs", "Training table job", Kind.TRAIN_TABLE)
_PREDICTION_TABLE = _Resource("genpredtable_jobs", "Prediction table job", Kind.PREDICTION_TABLE)


def routes() -> list[web.RouteDef]:
    """Return the routes of the job resources.

    :returns: the routes.
    """
    table: list[web.RouteDef] = []
    for resource in (_TRAINING, _PREDICTION, _TRAIN_TABLE, _PREDICTION_TABLE):
        actions = _JobActions(resource)
        base = f"/api/v1/{resource.path}"
        table += [
            web.get(f"{base}/{{id}}", actions.get),
            web.get(base, actions.list),
            web.get(f"{base}/{{id}}/progress", actions.progress),
            web.post(f"{base}/{{id}}/cancel", actions.cancel),
            web.patch(f"{base}/{{id}}/tags", actions.patch_tags),
            web.get(f"{base}/{{id}}/encoders", actions.encoders),
            web.get(f"{base}/{{id}}/get_errors", actions.errors),
        ]
    return [
        *table,
        web.post("/api/v1/training_jobs", _create_training),
        web.post("/api/v1/prediction_jobs", _create_prediction),
        web.post("/api/v1/gentraintable_jobs", _create_train_table),
        web.post("/api/v1/genpredtable_jobs", _create_prediction_table),
        web.get("/api/v1/training_jobs/{id}/holdout", _holdout),
        web.get("/api/v1/prediction_jobs/{id}/get_prediction_df_urls", _prediction_urls),
        web.get("/api/v1/prediction_jobs/{id}/get_embedding_df_urls", _embedding_urls),
        web.get("/api/v1/gentraintable_jobs/{id}/table_data", _table_data),
        web.get("/api/v1/genpredtable_jobs/{id}/table_data", _table_data),
        web.get("/files/{id}/{name}", _download),
    ]


def _project_of(request: web.Request) -> str | None:
    """Return the project of a request; without RBAC there is none."""
    return request.query.get("project_id") if request.app[STORE].settings.rbac else None


def _serialised(store: Store, record: JobRecord) -> bytes:
    def serialise(job: JobRecord, seen: JobView) -> bytes:
        return wire.job_body(job, seen, origin=store.origin)

    return store.body(record, serialise)


class _JobActions:
    """What can be done with a job of any kind."""

    def __init__(self, resource: _Resource) -> None:
        self._resource = resource

    def _find(self, request: web.Request) -> JobRecord:
        job_id = request.match_info["id"]
        store = request.app[STORE]
        record = store.job(job_id, kind=self._resource.kind, project_id=_project_of(request))
        if record is None:
            raise not_found(f"{self._resource.label} {job_id}")
        return record

    async def get(self, request: web.Request) -> web.Response:
        body = _serialised(request.app[STORE], self._find(request))
        return web.Response(body=body, content_type="application/json")

    async def list(self, request: web.Request) -> web.Response:
        store = request.app[STORE]
        found = store.listed(
            self._resource.kind,
            tags={key: value for key, value in request.query.items() if key not in _NOT_TAGS},
            status=_status_filter(request.query.get("job_status")),
            project_id=_project_of(request),
            limit=_limit(request.query.get("limit")),
        )
        body = b"[" + b",".join(_serialised(store, record) for record in found) + b"]"
        return web.Response(body=body, content_type="application/json")

    async def progress(self, request: web.Request) -> web.Response:
        record = self._find(request)
        store = request.app[STORE]
        store.view(record)
        seen = lifecycle.progress(record, store.clock())
        if record.kind is Kind.TRAINING:
            return answer(wire.training_progress(record, seen))
        if record.kind is Kind.PREDICTION:
            return answer(wire.prediction_progress(seen))
        return answer({"percent": int(100 * lifecycle.overall_fraction(record, store.clock()))})

    async def cancel(self, request: web.Request) -> web.Response:
        record = self._find(request)
        return answer({"is_cancelled": cancel(request.app[STORE], record, by="api")})

    async def patch_tags(self, request: web.Request) -> web.Response:
        record = self._find(request)
        changes = {k: v for k, v in request.query.items() if k not in ("group_id", "project_id")}
        check_tags(changes, where="query")
        if SYSTEM_TAGS & changes.keys():
            name = sorted(SYSTEM_TAGS & changes.keys())[0]
            raise Invalid(problem(["query", name], "Tag is set by Kumo", "value_error"))
        tags = {**record.tags, **changes}
        tags = {key: value for key, value in tags.items() if changes.get(key) != "none"}
        updated = tags != record.tags
        if updated:
            record.tags = tags
            request.app[STORE].changed(record)
        return answer({"resource_updated": updated})

    async def encoders(self, request: web.Request) -> web.Response:
        self._find(request)
        return answer(None)

    async def errors(self, request: web.Request) -> web.Response:
        seen = request.app[STORE].view(self._find(request))
        failure = seen.failure
        items = []
        if failure is not None:
            items = [{"type": 0, "description": failure.message, "title": failure.title, "cta": None}]
        return answer({"items": items})


def cancel(store: Store, record: JobRecord, *, by: str) -> bool:
    """Ask for a job to be cancelled; it ends a little later, if it has not ended by then.

    :param store: the state.
    :param record: the job.
    :param by: ``api`` or ``ui``.
    :returns: false if the job has already ended.
    """
    if store.view(record).status in lifecycle.TERMINAL:
        return False
    if record.cancel_requested_at is None:
        record.cancel_requested_at = store.clock()
        record.cancelled_by = by
        store.changed(record)
    return True


def _status_filter(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(JobStatus(text).value)
    except ValueError:
        allowed = ", ".join(f"'{status.value}'" for status in JobStatus)
        raise Invalid(problem(["query", "job_status"], f"Input should be {allowed}", "enum")) from None


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise Invalid(problem(["query", "limit"], "Input should be a valid integer", "int_parsing"))
    limit = int(text)
    if limit < 0:
        raise Invalid(problem(["query", "limit"], "Input should be greater than or equal to 0", "greater_than_equal"))
    return limit


def check_tags(tags: dict[str, str], *, where: str = "body") -> None:
    """Check tags against Kumo's rules.

    :param tags: the tags.
    :param where: ``body`` or ``query``.
    :raises Invalid: if a key or a value breaks them.
    """
    loc = ["body", "job_tags"] if where == "body" else ["query"]
    for key, value in tags.items():
        if not _TAG_KEY.fullmatch(key):
            raise Invalid(
                problem(
                    [*loc, key[:100]],
                    "Tag key must be 1 to 64 alphanumeric, dot, underscore or dash characters",
                    "value_error",
                )
            )
        if len(value) > _TAG_VALUE_LENGTH:
            raise Invalid(problem([*loc, key], "Tag value must be at most 256 characters long", "string_too_long"))


def _user_agent(request: web.Request) -> str:
    return request.headers.get("User-Agent", "unknown")[:200]


def _experiments(config: dict[str, Any]) -> int:
    wanted = config["model_plan"]["training_job"]["num_experiments"]
    return min(max(wanted, 1), _MOST_EXPERIMENTS) if isinstance(wanted, int) else 4


def _known_query(store: Store, name_or_id: str) -> QueryRecord:
    query = store.query(name_or_id)
    if query is None:
        raise Invalid(f"Predictive query {name_or_id[:200]} does not exist.")
    return query


def _tags_of(query: QueryRecord) -> dict[str, str]:
    return {"pquery_name": query.name, "pquery_id": query.id}


async def _create_training(request: web.Request) -> web.Response:
    store = request.app[STORE]
    _, config = wire.parse_body(await request.read(), TrainingJobRequest)
    check_tags(config["job_tags"])
    query = _known_query(store, config["pquery_id"])
    project_id = _project_of(request)
    warm = config["warm_start_job_id"]
    if warm is not None and store.job(warm, kind=Kind.TRAINING, project_id=project_id) is None:
        raise Invalid(f"Training job {warm[:200]} does not exist.")
    record = store.submit(
        Kind.TRAINING,
        query=query,
        config=config,
        system_tags=_tags_of(query),
        project_id=project_id,
        started_by=_user_agent(request),
        experiments=_experiments(config),
        not_before=_not_before(
            store,
            snapshot=config["graph_snapshot_id"],
            table_job=config["train_table_job_id"],
            table_kind=Kind.TRAIN_TABLE,
        ),
    )
    return answer({"id": record.id})


def _not_before(store: Store, *, snapshot: str | None, table_job: str | None, table_kind: Kind) -> float:
    """Return when what a job waits for is there: the data, or its training table."""
    ready = 0.0
    if snapshot is not None:
        found = store.snapshots.get(snapshot)
        if found is None:
            raise Invalid(f"Graph snapshot {snapshot[:200]} does not exist.")
        ready = found.done_at
    if table_job is not None:
        job = store.job(table_job, kind=table_kind)
        if job is None:
            raise Invalid(f"Table generation job {table_job[:200]} does not exist.")
        ready = max(ready, min(lifecycle.end_at(job), store.clock() + 3600.0 / store.settings.speed))
    return ready


async def _create_prediction(request: web.Request) -> web.Response:
    store = request.app[STORE]
    parsed, config = wire.parse_body(await request.read(), BatchPredictionRequest)
    check_tags(config["job_tags"])
    project_id = _project_of(request)
    model = store.job(config["model_training_job_id"], kind=Kind.TRAINING, project_id=project_id)
    if store.plans.rejections:
        errors = [store.plans.rejections.popleft()]
    else:
        errors = _prediction_errors(store, parsed, config, model)
    query = store.query(model.pquery_id) if model is not None else None
    if model is not None and query is None and not errors:
        errors.append(("Predictive query is missing", f"Predictive query {model.pquery_name} was deleted."))
    if errors or model is None or query is None:
        return answer([None, wire.validation(errors=errors)])
    record = store.submit(
        Kind.PREDICTION,
        query=query,
        config=config,
        system_tags={**_tags_of(query), "model_id": model.id},
        project_id=project_id,
        started_by=_user_agent(request),
        not_before=_not_before(
            store,
            snapshot=config["graph_snapshot_id"],
            table_job=config["pred_table_job_id"],
            table_kind=Kind.PREDICTION_TABLE,
        ),
    )
    return answer([record.id, wire.validation(warnings=_prediction_warnings(query, config))])


def _prediction_errors(
    store: Store, parsed: BatchPredictionRequest, config: dict[str, Any], model: JobRecord | None
) -> list[tuple[str, str]]:
    errors = []
    model_id = config["model_training_job_id"][:200]
    if model is None:
        errors.append(("Model does not exist", f"Training job {model_id} does not exist."))
    elif (status := store.view(model).status) != "DONE":
        errors.append(("Model is not trained", f"Training job {model_id} has status {status}."))
    anchor = parsed.prediction_time
    if anchor is not None and _ahead(anchor, store.clock()) > _AHEAD:
        message = f"prediction_time {config['prediction_time']} is later than the newest data."
        errors.append(("Prediction time is in the future", message))
    for output in config["outputs"]:
        errors += _output_errors(store, output)
    snapshot = config["graph_snapshot_id"]
    if snapshot is not None and snapshot not in store.snapshots:
        errors.append(("Graph snapshot does not exist", f"Graph snapshot {snapshot[:200]} does not exist."))
    table = config["pred_table_job_id"]
    if table is not None and store.job(table, kind=Kind.PREDICTION_TABLE) is None:
        errors.append(("Prediction table does not exist", f"Job {table[:200]} does not exist."))
    return errors


def _ahead(anchor: datetime, now: float) -> float:
    if anchor.tzinfo is None:
        anchor = anchor.replace(tzinfo=UTC)
    return (anchor - datetime.fromtimestamp(now, tz=UTC)).total_seconds()


def _output_errors(store: Store, output: dict[str, Any]) -> list[tuple[str, str]]:
    connector = output.get("connector_id")
    storage = output["storage_type"]
    if connector is not None and connector not in store.connectors:
        known = ", ".join(store.connectors)
        return [("Connector does not exist", f"Connector {connector[:200]} does not exist; known: {known}.")]
    if store.settings.rbac and connector is None and storage in ("S3", "GCS", "ADLS"):
        return [("Connector is required", f"A {storage} output needs a connector_id when RBAC is enabled.")]
    return []


def _prediction_warnings(query: QueryRecord, config: dict[str, Any]) -> list[ValidationWarning]:
    threshold = config["predict_options"]["binary_classification_threshold"]
    if query.task != "binary_classification" or threshold is not None:
        return []
    return [ValidationWarning("No threshold", "Binary classification threshold not set, 0.5 used.")]


async def _create_train_table(request: web.Request) -> web.Response:
    return await _create_table(request, Kind.TRAIN_TABLE, GenerateTrainTableRequest)


async def _create_prediction_table(request: web.Request) -> web.Response:
    return await _create_table(request, Kind.PREDICTION_TABLE, GeneratePredictionTableRequest)


async def _create_table(request: web.Request, kind: Kind, schema: type[Any]) -> web.Response:
    store = request.app[STORE]
    _, config = wire.parse_body(await request.read(), schema)
    check_tags(config["job_tags"])
    query = _known_query(store, config["pquery_id"])
    record = store.submit(
        kind,
        query=query,
        config=config,
        system_tags=_tags_of(query),
        project_id=_project_of(request),
        started_by=_user_agent(request),
        not_before=_not_before(store, snapshot=config["graph_snapshot_id"], table_job=None, table_kind=kind),
    )
    return answer({"id": record.id})


# -- files ------------------------------------------------------------------------------------


def _signature(store: Store, path: str, date: str) -> str:
    return hmac.new(store.key.encode(), f"{path}\n{date}".encode(), hashlib.sha256).hexdigest()


def _signed_url(store: Store, record: JobRecord, name: str) -> str:
    date = str(int(store.clock()))
    path = f"/files/{quote(record.id, safe='')}/{name}"
    query = urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": date,
            "X-Amz-Expires": _URL_SECONDS,
            "X-Amz-Signature": _signature(store, path, date),
        }
    )
    return f"{store.origin}{path}?{query}"


def _done_job(request: web.Request, kinds: tuple[Kind, ...]) -> JobRecord:
    job_id = request.match_info["id"]
    store = request.app[STORE]
    record = store.job(job_id, project_id=_project_of(request))
    if record is None or record.kind not in kinds:
        raise not_found(f"Job {job_id}")
    status = store.view(record).status
    if status != "DONE":
        raise web.HTTPConflict(text=f"Job {job_id} has no files: its status is {status}.")
    return record


async def _holdout(request: web.Request) -> web.Response:
    record = _done_job(request, (Kind.TRAINING,))
    return web.Response(text=_signed_url(request.app[STORE], record, "holdout.csv"))


async def _prediction_urls(request: web.Request) -> web.Response:
    return _partitions(request, "prediction_partitions", "predictions")


async def _embedding_urls(request: web.Request) -> web.Response:
    return _partitions(request, "embedding_partitions", "embeddings")


def _partitions(request: web.Request, key: str, name: str) -> web.Response:
    record = _done_job(request, (Kind.PREDICTION,))
    store = request.app[STORE]
    workers = min(max(record.config["predict_options"]["num_workers"], 1), 8)
    return answer({key: [_signed_url(store, record, f"{name}-{part}.csv") for part in range(workers)]})


async def _table_data(request: web.Request) -> web.Response:
    record = _done_job(request, (Kind.TRAIN_TABLE, Kind.PREDICTION_TABLE))
    return answer([_signed_url(request.app[STORE], record, "table-0.csv")])


async def _download(request: web.Request) -> web.Response:
    """Serve a few made-up rows to whoever has a signed URL that is still good."""
    store = request.app[STORE]
    date = request.query.get("X-Amz-Date", "")
    path = f"/files/{quote(request.match_info['id'], safe='')}/{request.match_info['name']}"
    expected = _signature(store, path, date)
    given = request.query.get("X-Amz-Signature", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        raise web.HTTPForbidden(text="The request signature does not match.")
    if store.clock() > int(date) + _URL_SECONDS:
        raise web.HTTPForbidden(text="The request has expired.")
    rows = "ENTITY,TARGET_PRED\n" + "".join(f"{row},{(row * 37 % 100) / 100}\n" for row in range(1, 101))
    return web.Response(text=rows, content_type="text/csv")
