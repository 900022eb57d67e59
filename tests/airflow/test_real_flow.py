"""Pools and callbacks under a real scheduler, API server, DAG processor and triggerer, each a process of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from airflow_provider_kumo.emulator.local import LocalKumo
from dev.airflow_stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOTS = 2
POOLS = {"kumo_held": True, "kumo_given_away": False, "kumo_default": True}


class World(NamedTuple):
    """A Kumo and an Airflow that works with it."""

    kumo: LocalKumo
    airflow: AirflowStack

    def run(self, dag_id: str, **conf: object) -> str:
        """Run a DAG to its end and return the state."""
        return self.airflow.wait_for_run(dag_id, self.airflow.trigger(dag_id, conf), seconds=240)

    def states(self, dag_id: str, run_id: str) -> list[str | None]:
        """Return the states of a run's task instances."""
        return [task["state"] for task in self.airflow.task_instances(dag_id, run_id)]

    @staticmethod
    def until(condition: Callable[[], bool], *, seconds: float = 90) -> None:
        """Wait for something that Airflow's processes do, of which they send no word."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.3)

    def messages(self) -> list[str]:
        """Return what the callbacks have told so far."""
        file = self.airflow.home / "messages"
        return file.read_text().strip().split("\n\n") if file.exists() else []

    def told(self, headline: str) -> str:
        """Wait for the message with this in its first line."""

        def found() -> str | None:
            return next((message for message in self.messages() if headline in message.splitlines()[0]), None)

        self.until(lambda: found() is not None)
        return str(found())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        LocalKumo(speed=1500) as kumo,
        AirflowStack(
            tmp_path_factory.mktemp("airflow"),
            Path(os.environ["AIRFLOW_HOME"]) / "dags",
            env={"AIRFLOW_CONN_KUMO_DEFAULT": kumo.connection_json},
            settings={"scheduler": {"use_job_schedule": "False"}},
        ) as airflow,
    ):
        for name, include_deferred in POOLS.items():
            body = {"name": name, "slots": SLOTS, "include_deferred": include_deferred}
            airflow.request("POST", "pools", json=body)
        airflow.wait_for_dags({"case_pool_held", "case_told", "case_told_by_the_dag", "case_cancel"})
        yield World(kumo, airflow)


def test_a_pool_that_counts_deferred_tasks_limits_the_jobs_at_a_time(world: World) -> None:
    done = world.kumo.jobs("training")[0].id
    known = len(world.kumo.jobs("training"))
    world.kumo.hold(kind="training", count=4)
    run_id = world.airflow.trigger("case_pool_held")
    world.until(lambda: world.states("case_pool_held", run_id).count("deferred") == SLOTS)
    # The scheduler has time for another DAG from beginning to end, but none for the other two.
    assert world.run("case_cancel", job_id=done) == "success"
    assert len(world.kumo.jobs("training")) == known + SLOTS
    assert sorted(map(str, world.states("case_pool_held", run_id))) == ["deferred"] * 2 + ["scheduled"] * 2
    world.kumo.release()
    assert world.airflow.wait_for_run("case_pool_held", run_id, seconds=240) == "success"
    assert len(world.kumo.jobs("training")) == known + 4


def test_a_pool_that_does_not_count_them_limits_nothing_while_they_wait(world: World) -> None:
    known = len(world.kumo.jobs("training"))
    world.kumo.hold(kind="training", count=4)
    run_id = world.airflow.trigger("case_pool_given_away")
    world.kumo.wait_for(lambda: len(world.kumo.jobs("training")) == known + 4, timeout=90)
    world.kumo.release()
    assert world.airflow.wait_for_run("case_pool_given_away", run_id, seconds=240) == "success"


def test_the_example_runs_with_its_pool(world: World) -> None:
    assert world.run("kumo_shared_quota") == "success"


def test_a_worker_tells_of_failure_with_cause_and_link_and_of_success_with_metrics(world: World) -> None:
    world.kumo.fail_next("training", title="Schema changed", message="Column AGE is gone")
    assert world.run("case_told") == "failed"
    job = world.kumo.jobs("training")[-1].id
    message = world.told("Task retrain_and_predict.retrain of DAG case_told, run")
    assert ": failed in try 1." in message
    assert f"KumoJobFailedError: Training job {job}" in message
    assert f"Schema changed. Column AGE is gone. See {world.kumo.origin}/jobs/{job}" in message
    (world.airflow.home / "messages").unlink()

    assert world.run("case_told") == "success"
    message = world.told("Task retrain_and_predict.retrain of DAG case_told, run")
    assert ": succeeded in try 1.\nTest metrics: auroc 0." in message
    assert f"Kumo job: {world.kumo.origin}/jobs/{world.kumo.jobs('training')[-1].id}" in message
    assert "Entities predicted: " in world.told("Task retrain_and_predict.predict of DAG case_told, run")
    assert world.kumo.api_key not in "".join(world.messages())


def test_the_callback_of_a_dag_tells_what_airflow_lets_it_know(world: World) -> None:
    assert world.run("case_told_by_the_dag") == "success"
    told = world.told("case_told_by_the_dag is well")
    assert "DAG case_told_by_the_dag, run manual__" in told
    assert "One of its tasks: retrain." in told
    world.kumo.fail_next("training", title="Schema changed", message="Column AGE is gone")
    assert world.run("case_told_by_the_dag") == "failed"
    assert ": task_failure. One of its tasks: retrain." in world.told("DAG case_told_by_the_dag, run")
