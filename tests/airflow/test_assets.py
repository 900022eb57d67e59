"""What the asset events of tasks with outlets say, as Airflow has recorded them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kumo.emulator.local import LocalKumo

pytestmark = pytest.mark.kumo_emulator(speed=15_000)


@pytest.fixture(autouse=True)
def _known_to_airflow(dags: Any) -> None:
    """Make the assets that a DAG processor would have made; some Airflows' ``dag.test()`` makes none."""
    from airflow.utils.session import create_session
    from sqlalchemy import select

    model, _ = _models()
    outlets = {o.uri for dag_id, dag in dags.items() if "outlets" in dag_id for task in dag.tasks for o in task.outlets}
    with create_session() as session:
        for uri in outlets - set(session.scalars(select(model.uri))):
            if model.__name__ == "DatasetModel":
                session.add(model(uri=uri))
                continue
            from airflow.models.asset import AssetActive

            asset = model(name=uri, uri=uri, group="asset")
            session.add_all([asset, AssetActive.for_asset(asset)])


def _models() -> tuple[Any, Any]:
    try:
        from airflow.models.asset import AssetEvent, AssetModel
    except ImportError:  # before Airflow 3
        from airflow.models.dataset import DatasetEvent, DatasetModel

        return DatasetModel, DatasetEvent
    return AssetModel, AssetEvent


def events(uri: str) -> list[dict[str, Any]]:
    """Return the extras of an asset's events, oldest first."""
    from airflow.utils.session import create_session
    from sqlalchemy import select

    model, event = _models()
    same = (event.asset_id if hasattr(event, "asset_id") else event.dataset_id) == model.id
    with create_session() as session:
        return list(session.scalars(select(event.extra).join(model, same).where(model.uri == uri).order_by(event.id)))


@pytest.mark.parametrize("mode", ["deferrable", "blocking"])
def test_events_tell_job_model_metrics_rows_and_link(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
) -> None:
    run = run_dag(f"case_outlets_{mode}")
    trained, predicted = run.result("retrain"), run.result("predict")
    told = events(f"kumo-case://{mode}/model")[-1]
    assert told["job_id"] == told["training_job_id"] == trained["job_id"]
    assert told["kind"] == "training"
    assert told["pquery_id"] == trained["pquery_id"]
    assert told["status"] == "DONE"
    assert told["tracking_url"] == f"{kumo_emulator.origin}/jobs/{trained['job_id']}"
    assert told["test_auroc"] == trained["metrics"]["test"]["auroc"]
    assert not [value for value in told.values() if isinstance(value, dict | list)]
    assert events(f"kumo-case://{mode}/model/again")[-1] == told

    told = events(f"kumo-case://{mode}/predictions")[-1]
    assert told["job_id"] == predicted["job_id"]
    assert told["training_job_id"] == trained["job_id"]
    assert told["num_entities_predicted"] == predicted["num_entities_predicted"] > 0
    assert told["tracking_url"] == f"{kumo_emulator.origin}/jobs/{predicted['job_id']}"
    assert events(f"kumo-case://{mode}/seen")[-1] == told


def test_a_task_that_fails_emits_none(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    before = events("kumo-case://deferrable/model")
    kumo_emulator.fail_next("training", title="Schema changed", message="Column AGE is gone")
    assert run_dag("case_outlets_deferrable").tasks["retrain"] == "failed"
    assert events("kumo-case://deferrable/model") == before


def test_a_task_that_does_not_wait_tells_the_job_as_it_stands(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    run = run_dag("case_outlets_start_only")
    [told] = events("kumo-case://start-only/model")
    assert told["job_id"] == run.result("retrain")["job_id"]
    assert told["status"] in ("NOT_STARTED", "QUEUED", "RUNNING")
    assert not [key for key in told if key.startswith("test_")]
    assert json.loads(json.dumps(told)) == told


def test_the_watching_example_started_by_hand_takes_its_model_from_the_person(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any], dags: Any
) -> None:
    if "kumo_predict_on_new_model" not in dags:
        pytest.skip("Airflow has asset watchers from 3.0 on")
    model = kumo_emulator.jobs("training")[0].id
    run = run_dag("kumo_predict_on_new_model", training_job_id=model)
    assert kumo_emulator.job(run.result("predict")["job_id"]).config["model_training_job_id"] == model
