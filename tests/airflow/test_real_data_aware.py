"""Assets that start DAGs, in a real Airflow: by a task's outlet, and by what a person does in Kumo."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import pytest

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.config import config_from_connection
from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.client.sync import KumoClient
from airflow_provider_kumo.emulator.local import LocalKumo
from dev.airflow_stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Iterator

RELEASE = tuple(int(part) for part in airflow.__version__.split(".")[:2])
REPOSITORY = Path(__file__).parents[2]
FILES = ("example_dags/kumo_predict_on_new_model.py", "tests/airflow/dags/kumo_data_aware.py")
WATCHING = "kumo_predict_on_new_model"

needs_watchers = pytest.mark.skipif(RELEASE < (3, 0), reason="Airflow has asset watchers from 3.0 on")
keeps_state = pytest.mark.skipif(RELEASE < (3, 3), reason="Airflow keeps the state of assets from 3.3 on")


class World:
    """A Kumo with a person in it, and an Airflow that schedules by assets."""

    def __init__(self, kumo: LocalKumo, airflow: AirflowStack) -> None:
        self.kumo = kumo
        self.airflow = airflow

    def runs(self, dag_id: str) -> list[str]:
        found = self.airflow.request("GET", f"dags/{dag_id}/dagRuns", params={"limit": 100})["dag_runs"]
        return sorted(str(run["dag_run_id"]) for run in found)

    def new_run(self, dag_id: str, known: list[str], *, seconds: float = 90) -> str:
        """Wait for a run that was not there and for its good end; return it."""
        deadline = time.monotonic() + seconds
        while len(self.runs(dag_id)) == len(known):
            assert time.monotonic() < deadline, f"{dag_id} has not been started within {seconds:g} s"
            time.sleep(0.5)
        [run_id] = set(self.runs(dag_id)) - set(known)
        assert self.airflow.wait_for_run(dag_id, run_id, seconds=120) == "success"
        return run_id

    def model_of(self, dag_id: str, run_id: str) -> str:
        """Return the model that a run has predicted with."""
        job_id = self.airflow.xcom(dag_id, run_id, "predict")["job_id"]
        return str(self.kumo.job(job_id).config["model_training_job_id"])

    def unpause(self, dag_id: str) -> None:
        self.airflow.request("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def polls(self, count: int) -> None:
        """Wait until the watcher has asked so many times more."""
        seen = len(self._polls())
        self.kumo.wait_for(lambda: len(self._polls()) >= seen + count, timeout=90)

    def train(self, query: str = "churn_30d") -> str:
        """Train as a person does in Kumo, to the end."""
        connection = self.kumo.connection
        config = config_from_connection(
            conn_id="person",
            host=connection["host"],
            port=connection.get("port"),
            schema=connection.get("schema"),
            password=connection["password"],
            extra=connection.get("extra", {}),
        )
        with KumoClient(lambda: config, log=logging.getLogger(__name__)) as client:
            job_id = client.send(calls.create_training_job(training_request(pquery_id=query)))
        self.kumo.finish(job_id)
        return job_id

    def _polls(self) -> list[Any]:
        return [r for r in self.kumo.requests if r.path.endswith("/training_jobs") and r.query.get("limit") == "100"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    dags = tmp_path_factory.mktemp("dags")
    for file in FILES:
        (dags / Path(file).name).symlink_to(REPOSITORY / file)
    with (
        LocalKumo(speed=1500) as kumo,
        AirflowStack(
            tmp_path_factory.mktemp("airflow"),
            dags,
            env={"AIRFLOW_CONN_KUMO_DEFAULT": kumo.connection_json},
            # Schedules count here: each of these DAGs has an asset for one, or none.
            settings={
                "scheduler": {"use_job_schedule": "True"},
                "triggerer": {"triggerer_health_check_threshold": "8"},
            },
        ) as airflow,
    ):
        wanted = {"case_outlets_deferrable", "case_on_new_model"} | ({WATCHING} if RELEASE >= (3, 0) else set())
        airflow.wait_for_dags(wanted)
        yield World(kumo, airflow)


def test_a_retrain_starts_the_dag_that_predicts_with_its_model(world: World) -> None:
    known = world.runs("case_on_new_model")
    run_id = world.airflow.trigger("case_outlets_deferrable")
    started = world.new_run("case_on_new_model", known)
    trained = world.airflow.xcom("case_outlets_deferrable", run_id, "retrain")["job_id"]
    assert world.model_of("case_on_new_model", started) == trained


@needs_watchers
def test_a_person_who_retrains_in_kumo_starts_the_dag_once_each_time(world: World) -> None:
    world.unpause(WATCHING)
    world.polls(1)
    known: list[str] = world.runs(WATCHING)
    for _ in range(2):
        trained = world.train()
        run_id = world.new_run(WATCHING, known)
        assert world.model_of(WATCHING, run_id) == trained
        known.append(run_id)
    world.train("ltv_90d")
    world.polls(3)
    assert world.runs(WATCHING) == sorted(known)


@keeps_state
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_restarted_triggerer_tells_what_it_has_missed_and_nothing_twice(world: World, how: str) -> None:
    world.unpause(WATCHING)
    world.polls(1)
    known = world.runs(WATCHING)
    world.airflow.stop_component("triggerer", grace=0 if how == "killed" else 20)
    trained = world.train()
    world.airflow.start_component("triggerer")
    run_id = world.new_run(WATCHING, known)
    assert world.model_of(WATCHING, run_id) == trained
    world.polls(3)
    assert world.runs(WATCHING) == sorted([*known, run_id])
