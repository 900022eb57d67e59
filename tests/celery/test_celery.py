"""The example DAGs under CeleryExecutor, with a real broker and PostgreSQL: ``make test-celery``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("airflow.providers.celery", reason="make test-celery has the environment for it")

from airflow_provider_kumo.emulator.local import LocalKumo
from dev.airflow_stack import AirflowStack
from dev.postgres import Postgres
from dev.processes import REPOSITORY
from dev.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNS = {
    "kumo_retrain_then_predict": {"pquery_id": "next_purchase"},
    "kumo_nightly_predict": {},
    "kumo_wait_for_job": {},
    "kumo_many_queries": {},
    "kumo_gated_queries": {},
}
WORKERS = ("celery-1", "celery-2")


class CeleryAirflow(AirflowStack):
    """An Airflow whose tasks run on Celery workers."""

    def start(self, *, seconds: float = 180) -> None:
        super().start(seconds=seconds)
        for name in WORKERS:
            self.start_component(name)

    def start_component(self, name: str) -> None:
        if name not in WORKERS:
            super().start_component(name)
            return
        worker = ["celery", "worker", "--skip-serve-logs", "--concurrency", "2", "--celery-hostname", f"{name}@%h"]
        self._spawn(name, [self._python, "-m", "airflow", *worker])

    def _make_database(self) -> None:
        self._migrate()


@pytest.fixture(scope="module")
def kumo() -> Iterator[LocalKumo]:
    with LocalKumo(speed=1_000) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(kumo: LocalKumo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CeleryAirflow]:
    home: Path = tmp_path_factory.mktemp("celery")
    with ExitStack() as running:
        redis, postgres = running.enter_context(Redis()), running.enter_context(Postgres())
        settings = {
            "core": {"executor": "CeleryExecutor"},
            "database": {"sql_alchemy_conn": postgres.address},
            "celery": {
                "broker_url": redis.address,
                "result_backend": postgres.address.replace("postgresql+psycopg2", "db+postgresql"),
            },
        }
        env = {"AIRFLOW_CONN_KUMO_DEFAULT": json.dumps(kumo.connection)}
        stack = CeleryAirflow(home, REPOSITORY / "example_dags", env=env, settings=settings)
        running.enter_context(stack)
        stack.wait_for_dags(list(RUNS), seconds=120)
        yield stack


@pytest.fixture(scope="module")
def runs(airflow: CeleryAirflow) -> dict[str, str]:
    """Return the runs, started together so that they wait side by side."""
    return {dag_id: airflow.trigger(dag_id, conf) for dag_id, conf in RUNS.items()}


@pytest.mark.parametrize("dag_id", RUNS)
def test_an_example_succeeds_on_celery(airflow: CeleryAirflow, runs: dict[str, str], dag_id: str) -> None:
    airflow.wait_for_run(dag_id, runs[dag_id], seconds=300)
    tasks: list[dict[str, Any]] = airflow.task_instances(dag_id, runs[dag_id])
    states = {task["task_id"]: task["state"] for task in tasks}
    assert set(states.values()) <= {"success", "skipped"}, states
    assert "success" in states.values()


def test_every_task_had_one_job(airflow: CeleryAirflow, kumo: LocalKumo, runs: dict[str, str]) -> None:
    for dag_id, run_id in runs.items():
        airflow.wait_for_run(dag_id, run_id, seconds=300)
    keys = [job.tags["airflow_task_key"] for job in kumo.jobs() if "airflow_task_key" in job.tags]
    assert keys
    assert len(keys) == len(set(keys))
