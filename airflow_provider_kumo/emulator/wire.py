"""Between the records and Kumo's JSON, with the dataclasses of Kumo's own schema package.

What comes in is parsed by them, so the emulator refuses what Kumo's schema refuses; what goes
out is built and serialised by them, so that it is what the official client expects.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from kumoapi.common import JobStatus, ValidationError, ValidationResponse
from kumoapi.data_snapshot import GraphSnapshotResource, JobState, TableSnapshotResource
from kumoapi.jobs import (
    AutoTrainerProgress,
    BatchPredictionJobSummary,
    EpochMetrics,
    JobEventLogEntry,
    JobStatusReport,
    Metric,
    ModelEvaluationMetrics,
    PredictionProgress,
    TrainerProgress,
    TrainingJobSummary,
)
from kumoapi.json_serde import from_json, to_json_dict
from pydantic import ValidationError as SchemaError

from airflow_provider_kumo.emulator.metrics import epoch_scores, final_scores
from airflow_provider_kumo.emulator.records import Failure, JobRecord, Kind, SnapshotRecord

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.lifecycle import JobView, ProgressView, TrialView

T = TypeVar("T")

#: Deeper than any body of Kumo's; a deeper one would exhaust the stack of the parser.
_MAX_DEPTH = 100


class Invalid(Exception):
    """A request that Kumo's schema, or a rule beside it, refuses: HTTP 422.

    :param detail: a sentence, or a list of problems in FastAPI's shape.
    """

    def __init__(self, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(str(detail))
        self.detail = detail


def problem(loc: list[str | int], msg: str, kind: str) -> list[dict[str, Any]]:
    """Build the ``detail`` of a 422 as FastAPI writes it.

    :param loc: where, for example ``["body", "job_tags"]``.
    :param msg: what is wrong.
    :param kind: the machine-readable type.
    :returns: a list with one problem.
    """
    return [{"loc": loc, "msg": msg, "type": kind}]


def problems_of(error: SchemaError) -> list[dict[str, Any]]:
    """Turn what the schema found into the ``detail`` of a 422.

    :param error: the error of the schema.
    :returns: a list of problems in FastAPI's shape.
    """
    return [
        {"loc": ["body", *item["loc"]], "msg": item["msg"], "type": item["type"]}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def parse_body(raw: bytes, schema: type[T]) -> tuple[T, dict[str, Any]]:
    """Parse the body of a request with a dataclass of Kumo's schema.

    :param raw: the bytes of the body.
    :param schema: the dataclass.
    :returns: the parsed object, and the same as JSON with all defaults filled in.
    :raises Invalid: if the body is not JSON, or not what the schema asks for.
    """
    return parse_value(load_json(raw), schema)


def load_json(raw: bytes) -> dict[str, Any]:
    """Read a JSON object.

    :param raw: the bytes of the body.
    :returns: the object.
    :raises Invalid: if the bytes are not a JSON object.
    """
    if not raw:
        raise Invalid(problem(["body"], "Field required", "missing"))
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else 0
        raise Invalid(problem(["body", at], "JSON decode error", "json_invalid")) from None
    if not isinstance(value, dict):
        raise Invalid(problem(["body"], "Input should be a valid dictionary", "dict_type"))
    if _depth(value) > _MAX_DEPTH:
        raise Invalid(problem(["body"], "JSON is nested too deeply", "json_invalid"))
    return value


def _depth(value: Any) -> int:
    """Return how deeply a JSON value is nested, without recursion."""
    depth, level = 0, [value]
    while level and depth <= _MAX_DEPTH:
        depth += 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = [item for item in below if isinstance(item, (dict, list))]
    return depth


def parse_value(value: dict[str, Any], schema: type[T]) -> tuple[T, dict[str, Any]]:
    """Parse a JSON object with a dataclass of Kumo's schema.

    :param value: the object.
    :param schema: the dataclass.
    :returns: the parsed object, and the same as JSON with all defaults filled in.
    :raises Invalid: if the object is not what the schema asks for.
    """
    try:
        parsed = from_json(value, schema)
        return parsed, to_json_dict(parsed)
    except SchemaError as error:
        raise Invalid(problems_of(error)) from None
    except (ValueError, TypeError, RecursionError) as error:
        # Some of the schema's own checks run outside pydantic's.
        raise Invalid(problem(["body"], str(error)[:500], "value_error")) from None


def utc(at: float) -> datetime:
    """Turn epoch seconds into an aware UTC time.

    :param at: epoch seconds.
    :returns: the time.
    """
    return datetime.fromtimestamp(at, tz=UTC)


def dumps(value: Any) -> bytes:
    """Serialise a JSON value compactly.

    :param value: the value.
    :returns: ASCII bytes.
    """
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def validation(*, errors: list[tuple[str, str]] | None = None, warnings: list[Any] | None = None) -> Any:
    """Build a ``ValidationResponse`` as JSON.

    :param errors: pairs of title and message.
    :param warnings: ``ValidationWarning`` objects.
    :returns: the JSON value.
    """
    return to_json_dict(
        ValidationResponse(
            warnings=warnings or [],
            errors=[ValidationError(title=title, message=message) for title, message in errors or []],
        )
    )


def job_body(record: JobRecord, seen: JobView, *, origin: str) -> bytes:
    """Serialise a job as Kumo's job resource.

    :param record: the job.
    :param seen: what it looks like now.
    :param origin: scheme and host of the tracking URL.
    :returns: the bytes of the body.
    """
    body: dict[str, Any] = {
        "job_id": record.id,
        "job_status_report": to_json_dict(_report(record, seen, origin)),
        "created_at": to_json_dict(utc(record.created_at)),
        "tags": record.tags,
        "project_id": record.project_id,
        # The config was normalised by the schema when the job was created.
        "config": record.config,
    }
    if record.kind in (Kind.TRAINING, Kind.PREDICTION):
        body["result"] = to_json_dict(_result(record, seen)) if seen.status == "DONE" else None
    else:
        body |= {"source": record.source, "user": None}
    return dumps(body)


def _report(record: JobRecord, seen: JobView, origin: str) -> JobStatusReport:
    return JobStatusReport(
        status=JobStatus(seen.status),
        tracking_url=f"{origin}/jobs/{quote(record.id, safe='')}",
        start_time=utc(seen.start_time),
        end_time=utc(seen.end_time) if seen.end_time is not None else None,
        event_log=[
            JobEventLogEntry(stage_name=event.stage, last_updated_at=utc(event.at), detail=event.detail)
            for event in seen.events
        ],
        validation_response=_failure(seen.failure) if seen.failure else None,
    )


def _failure(failure: Failure) -> ValidationResponse:
    return ValidationResponse(errors=[ValidationError(title=failure.title, message=failure.message)])


def _result(record: JobRecord, seen: JobView) -> TrainingJobSummary | BatchPredictionJobSummary:
    if record.kind is Kind.PREDICTION:
        return BatchPredictionJobSummary(num_entities_predicted=record.entities)
    splits = {
        split: [Metric(name=name, value=value) for name, value in scores.items()]
        for split, scores in final_scores(record).items()
    }
    ended = seen.end_time if seen.end_time is not None else seen.start_time
    return TrainingJobSummary(
        eval_metrics=ModelEvaluationMetrics(
            test_metrics=splits["test"],
            validation_metrics=splits["validation"],
            training_metrics=splits["training"],
        ),
        total_elapsed_time=timedelta(seconds=ended - seen.start_time),
        automl_experiments_completed=record.experiments,
    )


def training_progress(record: JobRecord, seen: ProgressView) -> dict[str, Any]:
    """Serialise the progress of a training job.

    :param record: the job.
    :param seen: how far it is.
    :returns: ``AutoTrainerProgress`` as JSON.
    """
    return to_json_dict(
        AutoTrainerProgress(
            start_time=utc(seen.start_time) if seen.start_time is not None else None,
            total_trials=seen.total_trials,
            completed_trials=sum(trial.finished for trial in seen.trials),
            elapsed_training_time=round(seen.elapsed, 3),
            estimated_training_time=round(seen.estimated, 3) if seen.estimated is not None else None,
            trial_progress={str(number): _trial(record, trial) for number, trial in enumerate(seen.trials)},
        )
    )


def _trial(record: JobRecord, trial: TrialView) -> TrainerProgress:
    epochs: dict[int, EpochMetrics] = {}
    scores: dict[str, float] = {}
    for number, seconds in enumerate(trial.epochs, 1):
        loss, scores = epoch_scores(record, trial, number)
        epochs[number] = EpochMetrics(
            time_taken=round(seconds, 3), train_metrics={"loss": loss}, validation_metrics=dict(scores)
        )
    return TrainerProgress(
        start_time=utc(trial.start_time),
        num_epochs_completed=len(epochs),
        elapsed_time=round(trial.elapsed, 3),
        estimated_train_time=None if not trial.epochs else round(trial.epochs[0] * trial.planned_epochs, 3),
        metrics=epochs,
        final_validation_metrics=scores if trial.finished else None,
    )


def prediction_progress(seen: ProgressView) -> dict[str, Any]:
    """Serialise the progress of a batch prediction job.

    :param seen: how far it is.
    :returns: ``PredictionProgress`` as JSON.
    """
    return to_json_dict(
        PredictionProgress(
            start_time=utc(seen.start_time) if seen.start_time is not None else None,
            total_iterations=seen.total_iterations,
            completed_iterations=seen.completed_iterations,
            elapsed_prediction_time=timedelta(seconds=round(seen.elapsed, 3)),
            estimated_prediction_time=(
                timedelta(seconds=round(seen.estimated, 3)) if seen.estimated is not None else None
            ),
        )
    )


def snapshot_body(record: SnapshotRecord, now: float) -> dict[str, Any]:
    """Serialise a graph snapshot: ingestion runs, then is done.

    :param record: the snapshot.
    :param now: wall-clock time.
    :returns: ``GraphSnapshotResource`` as JSON.
    """
    resource = {
        "id": record.id,
        "table_ids": record.table_ids,
        "stages": {"INGEST": _ingest(record, now)},
        "graph_name": record.graph_name,
    }
    return to_json_dict(from_json(resource, GraphSnapshotResource))


def table_snapshot_body(record: SnapshotRecord, table_id: str, now: float) -> dict[str, Any]:
    """Serialise the part of a graph snapshot that one table is.

    :param record: the snapshot of the graph.
    :param table_id: the id of the table's snapshot.
    :param now: wall-clock time.
    :returns: ``TableSnapshotResource`` as JSON.
    """
    resource = {"id": table_id, "stages": {"INGEST": _ingest(record, now)}}
    return to_json_dict(from_json(resource, TableSnapshotResource))


def _ingest(record: SnapshotRecord, now: float) -> dict[str, Any]:
    done = now >= record.done_at
    return to_json_dict(
        JobState(
            status=JobStatus.DONE if done else JobStatus.RUNNING,
            start_time=utc(record.created_at),
            end_time=utc(record.done_at) if done else None,
        )
    )
