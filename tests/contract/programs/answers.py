"""Prints every body that Kumo answers with, made by the kumo-api on PYTHONPATH and serialised by it.

A body is printed as text, so that NaN stands in it as it does on the wire.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from typing import Any

from kumoapi import common, graph, jobs, model_plan, pquery
from kumoapi.json_serde import from_json, to_json

UTC = timezone.utc  # noqa: UP017 - as Kumo writes it
CREATED = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
# Two other ways to say a time, which the schema allows as well.
STARTED_ELSEWHERE = datetime(2026, 11, 23, 8, 1, tzinfo=timezone(timedelta(hours=2)))
ENDED_WITHOUT_ZONE = datetime(2026, 11, 23, 7, 43, 7, 250_000)

STAGES = ("Data Ingestion", "Generate Training Table", "Training")
STAGES_BEGUN = {"RUNNING": 2, "DONE": 3, "FAILED": 2, "CANCELLED": 1}

lacking: set[str] = set()


def made(cls: Any, **values: Any) -> Any:
    """Build a dataclass of the schema from those values that this version of it has."""
    known = {field.name for field in dataclasses.fields(cls)}
    lacking.update(f"{cls.__name__}.{name}" for name in values if name not in known)
    return cls(**{name: value for name, value in values.items() if name in known})


def metrics(**values: float | None) -> list[Any]:
    return [made(jobs.Metric, name=name, value=value) for name, value in values.items()]


def validation(*, errors: int = 0, warnings: int = 0) -> Any:
    return made(
        common.ValidationResponse,
        errors=[made(common.ValidationError, title=f"Error {n}", message=f"Mend {n}.") for n in range(errors)],
        warnings=[made(common.ValidationWarning, title=f"Warning {n}", message=f"Mind {n}.") for n in range(warnings)],
        info_items=[made(common.ValidationInfo, title="Info", message="Nothing to do.", id="i-1")],
    )


def report(status: Any, job_id: str) -> Any:
    begun = STAGES[: STAGES_BEGUN.get(status.value, 0)]
    return made(
        jobs.JobStatusReport,
        status=status,
        tracking_url=f"http://inner.host:8888/jobs/{job_id}?tab=log",
        start_time=STARTED_ELSEWHERE,
        end_time=ENDED_WITHOUT_ZONE if status.is_terminal else None,
        event_log=[
            made(
                jobs.JobEventLogEntry,
                stage_name=stage,
                last_updated_at=CREATED + timedelta(minutes=number),
                detail=f"step {number}" if number else None,
            )
            for number, stage in enumerate(begun)
        ],
        validation_response=validation(errors=2, warnings=1) if status.value == "FAILED" else None,
    )


def job(status: Any, kind: str, config: Any, result: Any) -> Any:
    training = kind == "training"
    job_id = ("trainingjob-" if training else "bp-job-") + status.value.lower()
    return made(
        jobs.TrainingJobResource if training else jobs.BatchPredictionJobResource,
        job_id=job_id,
        job_status_report=report(status, job_id),
        created_at=CREATED,
        tags={"pquery_name": "churn_30d", "pquery_id": "pquery-churn", "team": "growth"},
        project_id="p1",
        config=config,
        result=result if status.value == "DONE" else None,
    )


def training_job(status: Any) -> Any:
    config = made(
        jobs.TrainingJobRequest,
        job_tags={"team": "growth"},
        pquery_id="pquery-churn",
        model_plan=model_plan.ModelPlan(),
        warm_start_job_id="trainingjob-before",
    )
    summary = made(
        jobs.TrainingJobSummary,
        eval_metrics=made(
            jobs.ModelEvaluationMetrics,
            test_metrics=metrics(auroc=0.84, ap=None, loss=float("nan")),
            validation_metrics=metrics(auroc=0.85, mape=float("inf")),
        ),
        total_elapsed_time=timedelta(hours=1, minutes=42, seconds=7.25),
        automl_experiments_completed=4,
    )
    return job(status, "training", config, summary)


def prediction_job(status: Any) -> Any:
    config = made(
        jobs.BatchPredictionRequest,
        job_tags={"team": "growth"},
        model_training_job_id="trainingjob-done",
        predict_options=made(jobs.BatchPredictionOptions, binary_classification_threshold=0.5),
        prediction_time=CREATED,
    )
    return job(status, "prediction", config, made(jobs.BatchPredictionJobSummary, num_entities_predicted=1_250_000))


def trial(epochs: int) -> Any:
    scores = [made(jobs.EpochMetrics, validation_metrics={"auroc": 0.8 + n / 100, "ap": None}) for n in range(epochs)]
    return made(jobs.TrainerProgress, num_epochs_completed=epochs, metrics=dict(enumerate(scores, 1)))


def training_progress(completed: int, elapsed: float, estimated: float | None, *trials: Any) -> Any:
    return made(
        jobs.AutoTrainerProgress,
        start_time=CREATED,
        total_trials=4,
        completed_trials=completed,
        elapsed_training_time=elapsed,
        estimated_training_time=estimated,
        trial_progress={str(number): trial for number, trial in enumerate(trials)},
    )


def prediction_progress(completed: int, elapsed: timedelta, estimated: timedelta | None) -> Any:
    return made(
        jobs.PredictionProgress,
        start_time=CREATED,
        total_iterations=1200,
        completed_iterations=completed,
        elapsed_prediction_time=elapsed,
        estimated_prediction_time=estimated,
    )


def predictive_query() -> Any:
    table = {
        "cols": [{"name": "user_id", "stype": "ID", "dtype": "int"}],
        "source_table": {"data_source_type": "S3", "s3_path": "s3://shop/users.parquet"},
        "pkey": "user_id",
    }
    return made(
        pquery.PQueryResource,
        query_string="PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.user_id",
        graph=from_json({"tables": {"users": table}, "col_groups": []}, graph.GraphDefinition),
        name="churn_30d",
        desc="Who leaves?",
    )


# What no dataclass describes is written as Kumo's own client reads it.
ANSWERS: dict[str, Any] = {
    **{f"training {status.value}": training_job(status) for status in common.JobStatus},
    **{f"prediction {status.value}": prediction_job(status) for status in common.JobStatus},
    "trainings": [training_job(status) for status in common.JobStatus],
    "predictions": [prediction_job(status) for status in common.JobStatus],
    "no jobs": [],
    "training created": {"id": "trainingjob-new"},
    "prediction accepted": ("bp-job-new", common.ValidationResponse()),
    "prediction accepted with a warning": ("bp-job-new", validation(warnings=1)),
    "prediction rejected": (None, validation(errors=2, warnings=1)),
    "prediction rejected without a reason": (None, common.ValidationResponse()),
    "training cancelled": jobs.CancelTrainingJobResponse(True),
    "training not cancelled": jobs.CancelTrainingJobResponse(False),
    "prediction cancelled": jobs.CancelBatchPredictionJobResponse(True),
    "prediction not cancelled": jobs.CancelBatchPredictionJobResponse(False),
    "tags changed": {"resource_updated": True},
    "tags unchanged": {"resource_updated": False},
    "prediction urls": jobs.GetPredictionsDfUrlResponse(["https://files/p-0?sig=1", "https://files/p-1?sig=2"]),
    "embedding urls": jobs.GetEmbeddingsDfUrlResponse([]),
    "training not yet in progress": jobs.AutoTrainerProgress(),
    "training in its first epoch": training_progress(0, 12.5, None, trial(0)),
    "training midway": training_progress(1, 1800.0, 7200.0, trial(5), trial(2)),
    "training at its end": training_progress(4, 6900.0, 6900.0, *[trial(5)] * 4),
    "prediction not yet in progress": jobs.PredictionProgress(),
    "prediction without an estimate": prediction_progress(12, timedelta(seconds=3.5), None),
    "prediction midway": prediction_progress(300, timedelta(minutes=5), timedelta(minutes=20)),
    "prediction at its end": prediction_progress(1200, timedelta(hours=1, minutes=2), timedelta(hours=1, minutes=2)),
    "query": predictive_query(),
    "queries": [predictive_query(), predictive_query()],
    "graph": {"id": "graph-0123456789abcdef"},
    "snapshot": {"id": "graph-0123456789abcdef@7"},
    "feature flags": {"rbac": True},
}

if __name__ == "__main__":
    print(
        json.dumps(
            {
                "version": version("kumo-api"),
                "bodies": {name: to_json(answer) for name, answer in ANSWERS.items()},
                "statuses": [status.value for status in common.JobStatus],
                "terminal": [status.value for status in common.JobStatus if status.is_terminal],
                "lacking": sorted(lacking),
            }
        )
    )
