"""Every endpoint as a pure function: arguments in, a :class:`Call` out. Nothing here talks to anybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_kumo.client import datasets, jobs
from airflow_provider_kumo.client.errors import KumoConfigurationError, KumoRequestRefusedError
from airflow_provider_kumo.client.jobs import Job, JobKind, PredictiveQuery, Progress, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_kumo.client.datasets import Connector

T = TypeVar("T")

MIB = 1024 * 1024
_STATUS_BODY = 8 * MIB
# A job is about 5 kB with its plan; the longest list asked for is some ten thousand jobs.
_LIST_BODY = 256 * MIB

# Filters of a list share the query string with tags, and so do group and project.
RESERVED_TAGS = frozenset({"pquery_name", "pquery_id", "job_status", "limit", "model_id", "group_id", "project_id"})


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request to Kumo and how to read its answer.

    :param what: what it does, to follow "Could not" in an error.
    :param method: HTTP method.
    :param path: path below the base URL, quoted.
    :param parse: from the decoded JSON to the result; raises :class:`UnreadableError` for what it cannot read.
    :param query: query parameters, unquoted.
    :param json: JSON body, or None for no body.
    :param safe_to_repeat: whether sending it twice does no more than sending it once.
    :param body_limit: bytes of answer to accept at most.
    :param is_secret: whether its result opens something to whoever sees it.
    """

    what: str
    method: str
    path: str
    parse: Callable[[Any], T]
    query: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    safe_to_repeat: bool = True
    body_limit: int = _STATUS_BODY
    is_secret: bool = False

    @property
    def is_collection(self) -> bool:
        """Whether the path names a collection, which every Kumo has, and no single thing."""
        return self.path.count("/") == 2


def list_connectors() -> Call[int]:
    """List the tenant's connectors: Kumo's own cheapest check of a key. Returns their number."""
    return Call(what="list connectors", method="GET", path="/v1/connectors", parse=_length)


def get_connector(name: str) -> Call[Connector]:
    """Read where a connector points; the answer holds no credentials."""
    return Call(
        what=f"read connector {_shown(name)}",
        method="GET",
        path=f"/v1/connectors/{_segment(name)}",
        parse=datasets.parse_connector,
    )


def get_config() -> Call[Mapping[str, Any]]:
    """Read the tenant's feature flags (``rbac``: whether access control is on)."""
    return Call(what="read the configuration", method="GET", path="/config", parse=_mapping)


def list_predictive_queries(*, name_pattern: str | None = None) -> Call[list[PredictiveQuery]]:
    """List predictive queries, optionally those whose name matches a pattern."""
    return Call(
        what="list predictive queries",
        method="GET",
        path="/v1/predictive_queries",
        query={} if name_pattern is None else {"name_pattern": name_pattern},
        parse=lambda body: [jobs.parse_predictive_query(item) for item in _sequence(body)],
        body_limit=_LIST_BODY,
    )


def get_predictive_query(pquery_id: str) -> Call[PredictiveQuery]:
    """Read a predictive query by id or name."""
    return Call(
        what=f"read predictive query {_shown(pquery_id)}",
        method="GET",
        path=f"/v1/predictive_queries/{_segment(pquery_id)}",
        parse=jobs.parse_predictive_query,
    )


def save_graph(graph: Mapping[str, Any]) -> Call[str]:
    """Register a graph definition and return its id; the same definition gives the same id."""
    return Call(
        what="register the graph",
        method="POST",
        path="/v1/graphs",
        query={"force_rename": "False"},
        json=graph,
        parse=_id,
    )


def create_graph_snapshot(graph_id: str) -> Call[str]:
    """Make a fresh snapshot of a graph's data and return its id.

    Repeating it costs one more ingestion, never a job, so it may be repeated.
    """
    return Call(
        what=f"make a snapshot of graph {_shown(graph_id)}",
        method="POST",
        path="/v1/graphsnapshots",
        query={"graph_id": graph_id, "refresh_source": "True"},
        parse=_id,
    )


def create_training_job(body: Mapping[str, Any]) -> Call[str]:
    """Start a training job and return its id.

    :param body: a TrainingJobRequest of Kumo's schema (see :mod:`airflow_provider_kumo.client.requests`).
    """
    return Call(
        what=f"start a training job for predictive query {_shown(body['pquery_id'])}",
        method="POST",
        path="/v1/training_jobs",
        json=body,
        parse=_id,
        safe_to_repeat=False,
    )


def create_prediction_job(body: Mapping[str, Any]) -> Call[str]:
    """Start a batch prediction job and return its id.

    Kumo answers a rejected request with HTTP 200, a null id and its validation errors; that is raised as
    :class:`~airflow_provider_kumo.client.errors.KumoRequestRefusedError`.

    :param body: a BatchPredictionRequest of Kumo's schema.
    """
    return Call(
        what=f"start a batch prediction with model {_shown(body['model_training_job_id'])}",
        method="POST",
        path="/v1/prediction_jobs",
        json=body,
        parse=_accepted_prediction,
        safe_to_repeat=False,
    )


def get_job(kind: JobKind, job_id: str) -> Call[Job]:
    """Read a job."""
    return Call(
        what=f"read {kind.label} {_shown(job_id)}",
        method="GET",
        path=_job_path(kind, job_id),
        parse=lambda body: jobs.parse_job(body, kind),
    )


def list_jobs(
    kind: JobKind,
    *,
    pquery_id: str | None = None,
    pquery_name: str | None = None,
    status: str | None = None,
    tags: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> Call[list[Job]]:
    """List jobs in the server's order, which Kumo does not document.

    :param pquery_id: only jobs of the query with this id.
    :param pquery_name: only jobs of the query with this name.
    :param status: only jobs with this status.
    :param tags: only jobs that carry all of these tags.
    :param limit: at most so many jobs.
    """
    filters = {
        **(tags or {}),
        "pquery_id": pquery_id,
        "pquery_name": pquery_name,
        "job_status": status,
        "limit": None if limit is None else str(limit),
    }
    return Call(
        what=f"list {kind.label}s",
        method="GET",
        path=f"/v1/{kind.collection}",
        query={key: value for key, value in filters.items() if value is not None},
        parse=lambda body: [jobs.parse_job(item, kind) for item in _sequence(body)],
        body_limit=_LIST_BODY,
    )


def get_progress(kind: JobKind, job_id: str) -> Call[Progress]:
    """Read how far a job has come."""
    return Call(
        what=f"read the progress of {kind.label} {_shown(job_id)}",
        method="GET",
        path=_job_path(kind, job_id, "progress"),
        parse=lambda body: jobs.parse_progress(body, kind),
    )


def cancel_job(kind: JobKind, job_id: str) -> Call[bool]:
    """Ask Kumo to cancel a job. Returns whether there was something to cancel; the job ends a little later."""
    return Call(
        what=f"cancel {kind.label} {_shown(job_id)}",
        method="POST",
        path=_job_path(kind, job_id, "cancel"),
        parse=lambda body: bool(_mapping(body).get("is_cancelled")),
    )


def update_tags(kind: JobKind, job_id: str, tags: Mapping[str, str]) -> Call[bool]:
    """Add or change tags of a job. Returns whether anything changed. The value ``none`` removes a tag."""
    return Call(
        what=f"tag {kind.label} {_shown(job_id)}",
        method="PATCH",
        path=_job_path(kind, job_id, "tags"),
        query=dict(tags),
        parse=lambda body: bool(_mapping(body).get("resource_updated")),
    )


def get_prediction_urls(job_id: str) -> Call[list[str]]:
    """Read the presigned URLs of the prediction files of a finished job. They are secrets: never push them."""
    return _file_urls(job_id, "get_prediction_df_urls", "prediction_partitions")


def get_embedding_urls(job_id: str) -> Call[list[str]]:
    """Read the presigned URLs of the embedding files of a finished job. They are secrets: never push them."""
    return _file_urls(job_id, "get_embedding_df_urls", "embedding_partitions")


def _file_urls(job_id: str, endpoint: str, key: str) -> Call[list[str]]:
    return Call(
        what=f"read the result files of batch prediction job {_shown(job_id)}",
        method="GET",
        path=_job_path(JobKind.PREDICTION, job_id, endpoint),
        parse=lambda body: [str(url) for url in _sequence(_mapping(body).get(key))],
        is_secret=True,
    )


def _job_path(kind: JobKind, job_id: str, action: str | None = None) -> str:
    path = f"/v1/{kind.collection}/{_segment(job_id)}"
    return path if action is None else f"{path}/{action}"


def _segment(value: str) -> str:
    """Quote an id so that it stays one segment of the path, whatever it holds."""
    if value in ("", ".", ".."):
        # Both HTTP libraries resolve dot segments, quoted or not, and would address another resource.
        raise KumoConfigurationError(f"{value!r} is no id of a Kumo query or job.")
    return quote(value, safe="")


def _shown(value: str) -> str:
    return value if len(value) <= 100 else value[:100] + "…"


def _mapping(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise UnreadableError(f"expected an object, got {type(body).__name__}")
    return body


def _sequence(body: Any) -> list[Any]:
    if not isinstance(body, list):
        raise UnreadableError(f"expected an array, got {type(body).__name__}")
    return body


def _length(body: Any) -> int:
    return len(_sequence(body))


def _id(body: Any) -> str:
    identifier = _mapping(body).get("id")
    if not isinstance(identifier, str) or not identifier:
        raise UnreadableError("the answer holds no id")
    return identifier


def _accepted_prediction(body: Any) -> str:
    match body:
        case [str(job_id), *_] if job_id:
            return job_id
        case [None, validation]:
            # One for each output, alike if the outputs have the same fault.
            errors = dict.fromkeys(jobs.validation_messages(validation, "errors"))
            raise KumoRequestRefusedError(
                "Kumo rejected the batch prediction: " + (" ".join(errors) or "it gave no reason.")
            )
    raise UnreadableError("expected [job id, validation]")
