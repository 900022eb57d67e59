"""Kumo's jobs, queries and progress as frozen dataclasses, and tolerant parsers for them.

Kumo's own parser fails on an enum value or a field that it does not know, and on a null where it expects a number.
A task that has waited nine hours must not: here only what makes a job a job (its id and status) is required.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

from airflow_provider_kumo.client.errors import KumoArgumentError

_TEXT_LIMIT = 2000
PREDICTION_PREFIX = "bp-job-"
_PREFIXES = ("trainingjob-", PREDICTION_PREFIX)

# What a job of an Airflow task carries: a hash of the task instance.
TASK_KEY_TAG = "airflow_task_key"
# Written to a job by whoever asks Kumo to cancel it on behalf of a task, with the time as its value.
CANCEL_TAG = "airflow_cancel_requested"


class UnreadableError(ValueError):
    """An answer has not the shape that Kumo's API gives it."""


class JobKind(StrEnum):
    """The two kinds of jobs."""

    TRAINING = "training"
    PREDICTION = "prediction"

    @property
    def collection(self) -> str:
        """The path segment of the kind's endpoints."""
        return f"{self.value}_jobs"

    @property
    def label(self) -> str:
        """What a reader calls it."""
        return "training job" if self is JobKind.TRAINING else "batch prediction job"

    @classmethod
    def of(cls, job_id: str) -> Self:
        """Tell the kind from the prefix of a job id.

        :raises KumoArgumentError: the id starts with neither ``trainingjob-`` nor ``bp-job-``.
        """
        for prefix, kind in zip(_PREFIXES, (cls.TRAINING, cls.PREDICTION), strict=True):
            if job_id.startswith(prefix):
                return kind
        raise KumoArgumentError(
            f"job_id: {job_id[:100]!r} starts with neither 'trainingjob-' nor 'bp-job-': "
            "say job_kind='training' or job_kind='prediction'."
        )

    @classmethod
    def named(cls, job_id: str, job_kind: str | None) -> Self:
        """Return the kind that was named, or tell it from the id if none was.

        :raises KumoArgumentError: the id is no id, the name is no kind, or neither tells.
        """
        is_id = isinstance(job_id, str) and job_id not in ("", "None", *_PREFIXES)
        if not is_id or job_id != job_id.strip() or not job_id.isprintable():
            raise KumoArgumentError(
                f"job_id: got {repr(job_id)[:100]}; it must be the id of a job in Kumo, without line breaks or outer "
                "spaces."
            )
        if job_kind is None:
            return cls.of(job_id)
        if job_kind in list(cls) and job_id.startswith(_PREFIXES) and cls.of(job_id) != job_kind:
            raise KumoArgumentError(f"job_kind: got {job_kind!r}, but {job_id[:100]!r} is a {cls.of(job_id).label}.")
        if job_kind not in list(cls):
            raise KumoArgumentError(f"job_kind: got {job_kind!r}; it must be one of {', '.join(cls)}, or None.")
        return cls(job_kind)


class JobStatus(StrEnum):
    """The statuses that decide something. Kumo has others, and any other counts as not yet ended."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_TERMINAL = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, kw_only=True)
class PredictiveQuery:
    """A predictive query: its text and the graph that it is asked of (a GraphDefinition, as Kumo sent it)."""

    name: str | None
    query_string: str
    graph: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training or batch prediction job as last seen.

    :param metrics: evaluation metrics by split (``test``, ``validation``, ``training``) and name, of a training job
        that is DONE; None for a metric that Kumo could not compute or that is not finite.
    :param nonfinite_metrics: names of the metrics that were NaN or infinite.
    :param stage: the newest entry of the event log.
    :param errors: Kumo's validation errors as sentences.
    :param cancel_requested: whether this provider has asked Kumo to cancel it; else a person has, if it is cancelled.
    :param model_plan: the plan that a training job ran with, as Kumo sent it.
    """

    id: str
    kind: JobKind
    status: str
    tracking_url: str | None = None
    pquery_id: str | None = None
    training_job_id: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    stage: str | None = None
    stage_detail: str | None = None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    nonfinite_metrics: tuple[str, ...] = ()
    num_entities_predicted: int | None = None
    cancel_requested: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    model_plan: Mapping[str, Any] | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended. A status that we do not know is not an end."""
        return self.status in _TERMINAL

    @property
    def page(self) -> str:
        """The URL of its page in Kumo, or a word for that."""
        return self.tracking_url or "its page"

    @property
    def model_id(self) -> str | None:
        """The training job whose model it is about: of a training, the job itself."""
        return self.id if self.kind is JobKind.TRAINING else self.training_job_id

    def age(self, *, now: float) -> float:
        """Return the seconds since the job was created, 0 if that is unknown or in the future.

        :param now: POSIX time in seconds.
        """
        return 0.0 if self.created_at is None else max(0.0, now - self.created_at.timestamp())

    def running_for(self, *, now: float) -> float:
        """Return the seconds since the job began to run; until then, since it was created.

        From Kumo's own times, so that a triggerer that takes a job over knows its age.

        :param now: POSIX time in seconds.
        """
        if self.status == JobStatus.RUNNING and self.started_at is not None:
            return max(0.0, now - self.started_at.timestamp())
        return self.age(now=now)

    def result(self) -> dict[str, Any]:
        """Return what an operator returns: flat, clean JSON, the same in every mode."""
        return {
            "job_id": self.id,
            "kind": self.kind.value,
            "status": self.status,
            "tracking_url": self.tracking_url,
            "pquery_id": self.pquery_id,
            "created_at": _iso(self.created_at),
            "started_at": _iso(self.started_at),
            "ended_at": _iso(self.ended_at),
            "metrics": {split: dict(self.metrics.get(split, {})) for split in ("test", "validation", "training")},
            "num_entities_predicted": self.num_entities_predicted,
        }

    def to_event(self) -> dict[str, Any]:
        """Return the job as the payload of a trigger's event: JSON primitives only, without tags and plan."""
        return {
            **self.result(),
            "training_job_id": self.training_job_id,
            "stage": self.stage,
            "stage_detail": self.stage_detail,
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "nonfinite_metrics": list(self.nonfinite_metrics),
            "cancel_requested": self.cancel_requested,
        }

    @classmethod
    def from_event(cls, payload: Mapping[str, Any]) -> Self:
        """Rebuild a job from :meth:`to_event`; absent keys take their defaults, so older events stay readable.

        :raises UnreadableError: there is no job in the payload.
        """
        return cls(
            id=_required_text(payload, "job_id"),
            kind=_kind(payload.get("kind")),
            status=_required_text(payload, "status"),
            tracking_url=_text(payload.get("tracking_url")),
            pquery_id=_text(payload.get("pquery_id")),
            training_job_id=_text(payload.get("training_job_id")),
            created_at=parse_datetime(payload.get("created_at")),
            started_at=parse_datetime(payload.get("started_at")),
            ended_at=parse_datetime(payload.get("ended_at")),
            stage=_text(payload.get("stage")),
            stage_detail=_text(payload.get("stage_detail")),
            errors=tuple(payload.get("errors") or ()),
            warnings=tuple(payload.get("warnings") or ()),
            metrics=payload.get("metrics") or {},
            nonfinite_metrics=tuple(payload.get("nonfinite_metrics") or ()),
            num_entities_predicted=_count(payload.get("num_entities_predicted")),
            cancel_requested=payload.get("cancel_requested") is True,
        )

    def with_origin(self, base_url: str) -> Self:
        """Return the job with its tracking URL on the configured host.

        Kumo may name a host that only it can reach; its own client rewrites scheme and host in the same way
        (kumoai 2.22.0, ``trainer/job.py``). Anything that is no http(s) URL is dropped: it would become a link.

        :param base_url: the configured base URL.
        """
        url = _on_origin(self.tracking_url, base_url)
        return self if url == self.tracking_url else replace(self, tracking_url=url)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job has come.

    :param done: trials or iterations that are finished.
    :param total: how many there will be, 0 while unknown.
    :param elapsed: seconds of training or predicting so far.
    :param estimated: seconds that it will take in all, generally an upper bound; None while unknown.
    :param detail: the newest epoch and its validation metrics, of a training.
    """

    kind: JobKind
    done: int = 0
    total: int = 0
    elapsed: float = 0.0
    estimated: float | None = None
    detail: str | None = None

    @property
    def percent(self) -> int | None:
        """Share of the work that is done, from 0 to 100, or None while there is nothing to tell it from."""
        if self.total > 0 and self.done >= self.total:
            return 100
        if self.estimated:
            return min(99, max(0, int(100 * self.elapsed / self.estimated)))
        return int(100 * self.done / self.total) if self.total > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end by Kumo's estimate, or None while it gives none."""
        return None if self.estimated is None else max(0.0, self.estimated - self.elapsed)

    def describe(self) -> str:
        """Return it as one phrase for a log line, or an empty text while there is nothing to say."""
        unit = "trials" if self.kind is JobKind.TRAINING else "iterations"
        parts = []
        if self.percent is not None:
            parts.append(f"{self.percent} %")
        if self.total > 0:
            parts.append(f"{self.done} of {self.total} {unit}")
        if self.detail:
            parts.append(self.detail)
        if parts and self.seconds_left is not None:
            parts.append(f"about {show_duration(self.seconds_left)} left")
        return ", ".join(parts)


def cancel_tags() -> dict[str, str]:
    """Return the tags for a job that this provider has asked Kumo to cancel."""
    return {CANCEL_TAG: datetime.now(UTC).isoformat(timespec="seconds")}


def show_duration(seconds: float) -> str:
    """Return a duration the way a person says it: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def parse_job(body: Any, kind: JobKind) -> Job:
    """Read a TrainingJobResource or BatchPredictionJobResource.

    :param body: decoded JSON of any content.
    :param kind: which of the two it is.
    :raises UnreadableError: it holds no job id or no status.
    """
    if not isinstance(body, dict):
        raise UnreadableError(f"expected a job, got {type(body).__name__}")
    report = _object(body.get("job_status_report"))
    config = _object(body.get("config"))
    result = _object(body.get("result"))
    tags = {key: value for key, value in _object(body.get("tags")).items() if isinstance(value, str)}
    events = [event for event in _array(report.get("event_log")) if isinstance(event, dict)]
    last_event = events[-1] if events else {}
    metrics, nonfinite = _metrics(_object(result.get("eval_metrics")))
    model_plan = config.get("model_plan")
    return Job(
        id=_required_text(body, "job_id"),
        kind=kind,
        status=_required_text(report, "status"),
        tracking_url=_text(report.get("tracking_url")),
        pquery_id=_text(config.get("pquery_id")) or tags.get("pquery_id"),
        training_job_id=_text(config.get("model_training_job_id")),
        created_at=parse_datetime(body.get("created_at")),
        started_at=parse_datetime(report.get("start_time")),
        ended_at=parse_datetime(report.get("end_time")),
        stage=_text(last_event.get("stage_name")),
        stage_detail=_text(last_event.get("detail")),
        errors=validation_messages(report.get("validation_response"), "errors"),
        warnings=validation_messages(report.get("validation_response"), "warnings"),
        metrics=metrics,
        nonfinite_metrics=nonfinite,
        num_entities_predicted=_count(result.get("num_entities_predicted")),
        cancel_requested=CANCEL_TAG in tags,
        tags=tags,
        model_plan=model_plan if isinstance(model_plan, dict) else None,
    )


def parse_progress(body: Any, kind: JobKind) -> Progress:
    """Read an AutoTrainerProgress or PredictionProgress; what is missing or odd reads as "nothing yet".

    :param body: decoded JSON of any content; null before a job runs.
    :param kind: which of the two it is.
    """
    progress = _object(body)
    if kind is JobKind.TRAINING:
        return Progress(
            kind=kind,
            done=_count(progress.get("completed_trials")) or 0,
            total=_count(progress.get("total_trials")) or 0,
            elapsed=parse_duration(progress.get("elapsed_training_time")) or 0.0,
            estimated=parse_duration(progress.get("estimated_training_time")),
            detail=_newest_epoch(_object(progress.get("trial_progress"))),
        )
    return Progress(
        kind=kind,
        done=_count(progress.get("completed_iterations")) or 0,
        total=_count(progress.get("total_iterations")) or 0,
        elapsed=parse_duration(progress.get("elapsed_prediction_time")) or 0.0,
        estimated=parse_duration(progress.get("estimated_prediction_time")),
    )


def parse_predictive_query(body: Any) -> PredictiveQuery:
    """Read a PQueryResource.

    :raises UnreadableError: it is no object.
    """
    if not isinstance(body, dict):
        raise UnreadableError(f"expected a predictive query, got {type(body).__name__}")
    return PredictiveQuery(
        name=_text(body.get("name")),
        query_string=_text(body.get("query_string")) or "",
        graph=_object(body.get("graph")),
    )


def validation_messages(validation: Any, key: str) -> tuple[str, ...]:
    """Read the ``errors`` or ``warnings`` of a ValidationResponse as sentences."""
    items = [item for item in _array(_object(validation).get(key)) if isinstance(item, dict)]
    return tuple(_sentence(_text(item.get("title")), _text(item.get("message"))) for item in items)


_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def parse_duration(value: Any) -> float | None:
    """Return seconds from a number or an ISO-8601 duration (``PT1H42M7.25S``), or None for anything else.

    Kumo sends both: numbers in training progress, durations everywhere else.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _finite(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) <= 100 else None
    if match is None or not any(match.groups()[1:]):
        return None
    parts = {unit: float(number) for unit, number in match.groupdict().items() if unit != "sign" and number}
    try:
        seconds = timedelta(**parts).total_seconds()
    except OverflowError:
        return None
    return -seconds if match["sign"] == "-" else seconds


def parse_datetime(value: Any) -> datetime | None:
    """Return an aware datetime in UTC from ISO-8601, or None for anything else; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _metrics(evaluation: Mapping[str, Any]) -> tuple[dict[str, dict[str, float | None]], tuple[str, ...]]:
    metrics: dict[str, dict[str, float | None]] = {}
    nonfinite = []
    for split in ("test", "validation", "training"):
        entries = [e for e in _array(evaluation.get(f"{split}_metrics")) if isinstance(e, dict)]
        for entry in entries:
            name, value = _text(entry.get("name")), entry.get("value")
            if name is None:
                continue
            number = _finite(value)
            if number is None and isinstance(value, float):
                nonfinite.append(f"{split} {name}")
            metrics.setdefault(split, {})[name] = number
    return metrics, tuple(nonfinite)


def _newest_epoch(trials: Mapping[str, Any]) -> str | None:
    for name in sorted(trials, key=lambda name: (len(name), name), reverse=True):
        epochs = _object(_object(trials[name]).get("metrics"))
        if epochs:
            epoch = max(epochs, key=lambda number: (len(number), number))
            scores = _object(_object(epochs[epoch]).get("validation_metrics"))
            shown = [f"{metric} {value:.4g}" for metric, value in scores.items() if _finite(value) is not None]
            return ", ".join([f"epoch {epoch}"[:40], *(text[:60] for text in shown[:4])])
    return None


def _on_origin(url: str | None, base_url: str) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    base = urlsplit(base_url)
    return urlunsplit((base.scheme, base.netloc, parts.path, parts.query, parts.fragment))


def _sentence(title: str | None, message: str | None) -> str:
    parts = [part.rstrip(".") for part in (title, message) if part]
    return ". ".join(parts) + "." if parts else "(no text)"


def _kind(value: Any) -> JobKind:
    if value not in list(JobKind):
        raise UnreadableError(f"{value!r} is no kind of job")
    return JobKind(value)


def _required_text(body: Mapping[str, Any], key: str) -> str:
    text = _text(body.get(key))
    if not text:
        raise UnreadableError(f"the job holds no {key}")
    return text


def _text(value: Any) -> str | None:
    return value[:_TEXT_LIMIT] if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    number = _finite(value)
    return None if number is None or number < 0 else int(number)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _array(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
