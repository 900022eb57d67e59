"""Whatever we can ask for, every version of Kumo's schema reads as we meant it, as far as it knows of it."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_kumo import outputs
from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.jobs import JobKind
from airflow_provider_kumo.client.requests import prediction_request, training_request

if TYPE_CHECKING:
    from tests.contract.conftest import Schema

TAGS = {"team": "growth", "run.id": "scheduled__2026-11-23T00:00:00+00:00", "empty": ""}

TRAINING: dict[str, dict[str, Any]] = {
    "nothing chosen": {},
    "tags": {"job_tags": TAGS},
    "an empty plan": {"model_plan": {}},
    "a part of a plan": {"model_plan": {"training_job": {"num_experiments": 2}}},
    "a plan with every kind of value": {
        "model_plan": {
            "training_job": {"metrics": ["auroc", "ap"], "tune_metric": "ap", "refit_full": True, "manual_seed": 7},
            "column_processing": {"encoder_overrides": {"users.age": "Numerical"}},
            "neighbor_sampling": {"num_neighbors": [{"hop1": {"default": 16, "orders->users": 32}}]},
            "optimization": {"base_lr": [0.001, 0.01], "max_epochs": 8, "loss": ["focal"]},
            "model_architecture": {"channels": [64, 128]},
        }
    },
    "a warm start": {"warm_start_job_id": "trainingjob-0"},
    "a snapshot": {"graph_snapshot_id": "graph-0123456789abcdef@7"},
}

STORAGES: dict[str, list[Any]] = {
    "SNOWFLAKE": [
        outputs.snowflake(connector_id="wh", table_name="P"),
        outputs.snowflake(
            connector_id="wh",
            table_name="E",
            artifact_type="EMBEDDINGS",
            write_mode="APPEND",
            extra_fields=["JOB_TIMESTAMP", "ANCHOR_TIMESTAMP"],
        ),
    ],
    "BIGQUERY": [
        outputs.bigquery(connector_id="bq", table_name="p"),
        outputs.bigquery(
            connector_id="bq",
            table_name="p",
            artifact_type="EMBEDDINGS",
            write_mode="APPEND",
            staging_table_name="p_new",
            extra_fields=["JOB_TIMESTAMP"],
        ),
    ],
    "DATABRICKS": [
        outputs.databricks(connector_id="uc", table_name="s.p"),
        outputs.databricks(
            connector_id="uc", table_name="s.e", artifact_type="EMBEDDINGS", extra_fields=["ANCHOR_TIMESTAMP"]
        ),
    ],
    "S3": [
        outputs.s3(file_path="s3://b/p/part-{{PARTITION}}.parquet"),
        outputs.s3(
            file_path="s3://b/e.csv", connector_id="lake", artifact_type="EMBEDDINGS", extra_fields=["JOB_TIMESTAMP"]
        ),
    ],
    "GCS": [
        outputs.gcs(file_path="gs://b/p.parquet"),
        outputs.gcs(
            file_path="gs://b/e", connector_id="lake", artifact_type="EMBEDDINGS", extra_fields=["JOB_TIMESTAMP"]
        ),
    ],
    "ADLS": [
        outputs.adls(file_path="abfss://b/p.parquet"),
        outputs.adls(
            file_path="abfss://b/e", connector_id="lake", artifact_type="EMBEDDINGS", extra_fields=["JOB_TIMESTAMP"]
        ),
    ],
    "LOCAL": [outputs.local(), outputs.local(artifact_type="EMBEDDINGS", extra_fields=["JOB_TIMESTAMP"])],
}

PREDICTION: dict[str, dict[str, Any]] = {
    "nothing chosen": {},
    "tags": {"job_tags": TAGS},
    "a threshold": {"binary_classification_threshold": 0.25},
    "a threshold of zero": {"binary_classification_threshold": 0},
    "a number of classes": {"num_classes_to_return": 10},
    "workers": {"num_workers": 4},
    "explanations": {"explanations": True},
    "no explanations": {"explanations": False},
    "numbers that a template rendered": {
        "binary_classification_threshold": "0.25",
        "num_classes_to_return": "10",
        "num_workers": "4",
        "explanations": "True",
    },
    "a time in UTC": {"prediction_time": datetime(2026, 11, 20, 1, 2, 3, 456_789, tzinfo=UTC)},
    "a time elsewhere": {"prediction_time": datetime(2026, 11, 20, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))},
    "a time without an offset": {"prediction_time": datetime(2026, 11, 20, 1)},
    "a date": {"prediction_time": date(2026, 11, 20)},
    "a time that a template rendered": {"prediction_time": "2026-11-20T01:02:03+00:00"},
    **{f"{len(each)} outputs to {storage}": {"outputs": each} for storage, each in STORAGES.items()},
    "an output with a connector, as access control wants": {
        "outputs": [outputs.s3(file_path="s3://b/p", connector_id="lake")],
        "connector_required": True,
    },
}

# What Kumo offers and this provider does not.
LEFT_OUT = {
    "TrainingJobRequest": {
        "custom_train_table",
        "data_backend_session_id",
        "enable_baselines",
        "train_table_job_id",
        "train_table_override",
    },
    "BatchPredictionRequest": {
        "data_backend_session_id",
        "graph_snapshot_id",
        "pred_table_job_id",
        "pred_table_path",
    },
}


@cache
def built_requests() -> dict[str, tuple[str, dict[str, Any]]]:
    training = {
        f"training with {name}": ("TrainingJobRequest", training_request(pquery_id="churn_30d", **arguments))
        for name, arguments in TRAINING.items()
    }
    prediction = {
        f"prediction with {name}": (
            "BatchPredictionRequest",
            prediction_request(training_job_id="trainingjob-1", **arguments),
        )
        for name, arguments in PREDICTION.items()
    }
    return training | prediction


@cache
def echoed(schema: Schema) -> dict[str, Any]:
    """Send every request, and one with the whole plan of a job of the same version, through the schema."""
    return schema.run("echo.py", stdin=json.dumps(built_requests() | {"whole plan": whole_plan_request(schema)}))


def whole_plan_request(schema: Schema) -> tuple[str, dict[str, Any]]:
    job = schema.read("training DONE", calls.get_job(JobKind.TRAINING, "any"))
    return "TrainingJobRequest", training_request(pquery_id="churn_30d", model_plan=job.model_plan)


def known_part(sent: Any, fields: Any) -> Any:
    """Return what a version of the schema knows of a body; its fields are a tree whose leaves are None."""
    if fields is None:
        return sent
    if isinstance(sent, list):
        return [known_part(output, fields[output["storage_type"]]) for output in sent]
    return {key: known_part(value, fields[key]) for key, value in sent.items() if key in fields}


def picked(back: Any, sent: Any) -> Any:
    """Return what came back under the keys that were sent; Kumo fills in the rest."""
    if isinstance(sent, dict):
        return {key: picked(back[key], value) for key, value in sent.items()}
    if isinstance(sent, list):
        return [picked(*pair) for pair in zip(back, sent, strict=True)]
    return back


def with_instants(body: dict[str, Any]) -> dict[str, Any]:
    moment = body.get("prediction_time")
    return body if moment is None else {**body, "prediction_time": datetime.fromisoformat(moment)}


@pytest.mark.parametrize("name", built_requests())
def test_a_request_comes_back_unchanged_or_is_refused_for_its_storage_alone(schema: Schema, name: str) -> None:
    dataclass, sent = built_requests()[name]
    answer = echoed(schema)["requests"][name]
    fields = echoed(schema)["fields"][dataclass]

    unknown = {output["storage_type"] for output in sent.get("outputs", ())} - set(fields.get("outputs", ()))
    if unknown:
        assert f"Input tag '{unknown.pop()}' found using 'storage_type'" in answer["refused"]
    else:
        kept = known_part(sent, fields)
        assert with_instants(picked(answer["back"], kept)) == with_instants(kept)


@pytest.mark.parametrize("name", built_requests())
def test_the_newest_schema_knows_every_key_that_we_send(newest_schema: Schema, name: str) -> None:
    dataclass, sent = built_requests()[name]

    assert known_part(sent, echoed(newest_schema)["fields"][dataclass]) == sent


def test_the_whole_plan_of_a_job_trains_again_as_it_is(schema: Schema) -> None:
    _, sent = whole_plan_request(schema)
    back = echoed(schema)["requests"]["whole plan"]["back"]

    assert len(sent["model_plan"]) == 5
    assert back["model_plan"] == sent["model_plan"]


def test_no_plan_and_an_empty_plan_leave_all_to_kumo(schema: Schema) -> None:
    requests = echoed(schema)["requests"]
    default = requests["whole plan"]["back"]

    assert requests["training with nothing chosen"]["back"] == default
    assert requests["training with an empty plan"]["back"] == default


def test_a_prediction_time_is_the_instant_that_was_meant(newest_schema: Schema) -> None:
    times = {
        name: datetime.fromisoformat(
            echoed(newest_schema)["requests"][f"prediction with {name}"]["back"]["prediction_time"]
        ).isoformat()
        for name, arguments in PREDICTION.items()
        if "prediction_time" in arguments
    }

    assert times == {
        "a time in UTC": "2026-11-20T01:02:03.456789+00:00",
        "a time elsewhere": "2026-11-19T19:30:00+00:00",
        "a time without an offset": "2026-11-20T01:00:00+00:00",
        "a date": "2026-11-20T00:00:00+00:00",
        "a time that a template rendered": "2026-11-20T01:02:03+00:00",
    }


@pytest.mark.parametrize(
    ("function", "cases"),
    [(training_request, TRAINING), (prediction_request, PREDICTION)],
    ids=["training", "prediction"],
)
def test_these_requests_use_every_argument(function: Any, cases: dict[str, dict[str, Any]]) -> None:
    optional = {name for name, p in inspect.signature(function).parameters.items() if p.default is not p.empty}

    assert optional == {name for arguments in cases.values() for name in arguments}


def test_these_outputs_use_every_argument_of_every_storage() -> None:
    functions = {
        name.upper(): inspect.signature(function).parameters
        for name, function in inspect.getmembers(outputs, inspect.isfunction)
        if function.__module__ == outputs.__name__ and not name.startswith("_")
    }

    assert {storage: set(each[1]) - {"storage_type"} for storage, each in STORAGES.items()} == {
        name: set(parameters) for name, parameters in functions.items()
    }


def test_the_newest_schema_offers_nothing_that_is_not_offered_here_or_left_out_on_purpose(
    newest_schema: Schema,
) -> None:
    newest = echoed(newest_schema)
    sent: dict[str, set[str]] = {}
    for dataclass, body in built_requests().values():
        sent.setdefault(dataclass, set()).update(body)

    assert {name: set(newest["fields"][name]) - keys for name, keys in sent.items()} == LEFT_OUT
    fields = newest["fields"]["BatchPredictionRequest"]
    assert set(fields["predict_options"]) == {
        key for _, body in built_requests().values() for key in body.get("predict_options", ())
    }
    written = {
        storage: prediction_request(training_job_id="t", outputs=each)["outputs"][1]
        for storage, each in STORAGES.items()
    }
    assert {storage: set(known) for storage, known in fields["outputs"].items()} == {
        storage: set(output) for storage, output in written.items()
    }
    used = {choice for each in STORAGES.values() for output in each for choice in _choices(output)}
    assert {choice for choices in newest["choices"].values() for choice in choices} == used


def _choices(output: dict[str, Any]) -> list[str]:
    single = [output[key] for key in ("storage_type", "artifact_type", "write_mode") if key in output]
    return single + output["extra_fields"]


UNKNOWN = {
    "newest": [],
    "middle": ["ADLS", "GCS.connector_id", "S3.connector_id", "prediction_time"],
    "oldest": ["ADLS", "GCS", "LOCAL", "S3.connector_id", "prediction_time"],
}


def test_what_a_version_does_not_know_of_our_requests_is_written_down(schema: Schema) -> None:
    fields = echoed(schema)["fields"]
    missing = set()
    for dataclass, body in built_requests().values():
        missing |= {key for key in body if key not in fields[dataclass]}
        for output in body.get("outputs", ()):
            storage = output["storage_type"]
            known = fields[dataclass]["outputs"].get(storage)
            missing |= {storage} if known is None else {f"{storage}.{key}" for key in output if key not in known}

    assert sorted(missing) == UNKNOWN[schema.name]
