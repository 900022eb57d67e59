"""The same DAGs under a real scheduler, API server, DAG processor and triggerer, each a process of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.config import KumoConfig
from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.client.sync import KumoClient
from airflow_provider_kumo.emulator.local import LocalKumo
from dev.airflow_stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Iterator

# All are started at once, so that they wait side by side.
RUNS = {
    "retrain then predict": ("kumo_retrain_then_predict", {"pquery_id": "next_purchase"}),
    "nightly predict": ("kumo_nightly_predict", {}),
    "wait for job": ("kumo_wait_for_job", {}),
    "many queries": ("kumo_many_queries", {}),
    "retrain, blocking": ("case_retrain_blocking", {}),
    "predict, blocking": ("case_predict_blocking", {}),
}


# Of a line in a log, by Airflow 2 and by Airflow 3.
_PREFIX = re.compile(r"^\[[^]]*\] \{[^}]*\} [A-Z]+ - |^\S+ [a-z]+ ")
_AIRFLOWS_OWN = re.compile(r"Trigger fired event|Trigger .* fired")


STARTS_TRIGGERS = AIRFLOW_V_3_3_PLUS or not AIRFLOW_V_3_1_PLUS


class World(NamedTuple):
    """A Kumo, an Airflow that works with it, and the runs that were started in it."""

    kumo: LocalKumo
    airflow: AirflowStack
    runs: dict[str, tuple[str, str]]
    jobs: list[str]

    def end(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Wait for a run and return the states of its task instances."""
        self.airflow.wait_for_run(dag_id, run_id, seconds=240)
        return {
            task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]": task["state"]
            for task in self.airflow.task_instances(dag_id, run_id)
        }

    def logs(self, dag_id: str, run_id: str) -> str:
        """Return the logs of a run's task instances, for the message of a failed assertion."""
        return "\n".join(
            self.airflow.task_log(dag_id, run_id, task["task_id"], map_index=task["map_index"])
            for task in self.airflow.task_instances(dag_id, run_id)
        )

    def told(self, dag_id: str, run_id: str, task_id: str, job_id: str) -> list[str]:
        """Return what the provider has written into a task's log about its job, without times and levels."""
        lines = self.airflow.task_log(dag_id, run_id, task_id).splitlines()
        return [_PREFIX.sub("", line) for line in lines if job_id in line and not _AIRFLOWS_OWN.search(line)]

    def run(self, dag_id: str, **conf: object) -> tuple[str, dict[str, str]]:
        """Start a run, wait for it, and return its id and the states of its task instances."""
        run_id = self.airflow.trigger(dag_id, conf)
        return run_id, self.end(dag_id, run_id)

    def held(self, dag_id: str, task_id: str) -> tuple[str, str]:
        """Start a run whose training job waits for its release, in the triggerer; return the run and the job."""
        self.kumo.hold(kind="training", count=1)
        run_id = self.airflow.trigger(dag_id)
        job_id = self.deferred_job(dag_id, run_id, task_id)
        self.trigger_has_looked(job_id)
        return run_id, job_id

    def deferred_job(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
        """Wait until a task is deferred and return its job."""
        self.airflow.wait_for_task(dag_id, run_id, task_id, "deferred", map_index=map_index)
        return str(self.airflow.xcom(dag_id, run_id, task_id, "job_id", map_index))

    def trigger_has_looked(self, job_id: str, *, seconds: float = 30) -> None:
        """Wait until the triggerer asks for a job, so that its trigger runs."""
        self.kumo.clear_requests()
        self.kumo.wait_for(
            lambda: any(request.path.endswith(job_id) for request in self.kumo.requests), timeout=seconds
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        kumo = stack.enter_context(LocalKumo(speed=1500))
        jobs = [held_job(kumo) for _ in range(3)]
        airflow = AirflowStack(
            tmp_path_factory.mktemp("airflow"),
            Path(os.environ["AIRFLOW_HOME"]) / "dags",
            env={"AIRFLOW_CONN_KUMO_DEFAULT": kumo.connection_json, "CASE_JOBS": " ".join(jobs)},
            # Only what the tests start runs, not what the schedules of the examples would.
            # A killed triggerer's triggers are taken over this many seconds after its last heartbeat.
            settings={
                "scheduler": {"use_job_schedule": "False"},
                "triggerer": {"triggerer_health_check_threshold": "8"},
            },
        )
        stack.enter_context(airflow)
        airflow.wait_for_dags({dag_id for dag_id, _ in RUNS.values()} | {"case_cancel"})
        runs = {name: (dag_id, airflow.trigger(dag_id, conf)) for name, (dag_id, conf) in RUNS.items()}
        yield World(kumo, airflow, runs, jobs)


def held_job(kumo: LocalKumo) -> str:
    """Start a training job, as a person does, that does not end before it is told to.

    Its query is not the one whose newest job the example waits for.
    """
    kumo.hold(kind="training", count=1)
    config = KumoConfig(base_url=kumo.url, secret=kumo.api_key)
    with KumoClient(lambda: config, log=logging.getLogger(__name__)) as client:
        body = {**training_request(pquery_id="ltv_90d"), "job_tags": {}}
        return client.send(calls.create_training_job(body))


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_well(world: World, name: str) -> None:
    states = world.end(*world.runs[name])
    assert set(states.values()) == {"success"}, world.logs(*world.runs[name])


def test_the_result_link_and_log_of_a_deferred_task_are_there_for_a_person(world: World) -> None:
    dag_id, run_id = world.runs["retrain then predict"]
    world.end(dag_id, run_id)
    result = world.airflow.xcom(dag_id, run_id, "retrain")
    link = f"{world.kumo.origin}/jobs/{result['job_id']}"
    assert world.airflow.links(dag_id, run_id, "retrain") == {"Kumo job": link}
    assert result["metrics"]["test"]
    log = world.airflow.task_log(dag_id, run_id, "retrain")
    assert f"Started training job {result['job_id']}. See {link}" in log
    assert "ended as DONE" in log
    assert world.kumo.api_key not in log


def test_a_deferred_tasks_log_says_each_thing_once(world: World) -> None:
    dag_id, run_id = world.runs["retrain then predict"]
    world.end(dag_id, run_id)
    job_id = world.airflow.xcom(dag_id, run_id, "retrain")["job_id"]
    told = world.told(dag_id, run_id, "retrain", job_id)
    assert told[0] == f"Started training job {job_id}. See {world.kumo.origin}/jobs/{job_id}"
    assert re.fullmatch(rf"Training job {job_id} ended as DONE after \d+ (s|min)\.", told[-1])
    assert all(line.startswith(f"Training job {job_id}: ") for line in told[1:-1])
    assert any(re.search(r"RUNNING, Training .*\d+ %, .* left$", line) for line in told[1:-1])
    assert len(set(told)) == len(told)
    log = world.airflow.task_log(dag_id, run_id, "retrain")
    assert re.search(r"metric +test +validation +training", log)
    assert "'version': 1" not in log


def test_a_sensor_waits_without_a_worker(world: World) -> None:
    """Its pool has no slot, so no worker can have had the task; the pool gets one when the job has ended."""
    dag_id, done = "case_from_trigger", world.jobs[0]
    world.airflow.set_pool("no_slots", 0 if STARTS_TRIGGERS else 1)
    run_id = world.airflow.trigger(dag_id)
    world.airflow.wait_for_task(dag_id, run_id, "wait", "deferred")
    world.trigger_has_looked(done)
    [task] = world.airflow.task_instances(dag_id, run_id)
    assert (task["queued_when"] is None) is STARTS_TRIGGERS
    link = {"Kumo job": f"{world.kumo.origin}/jobs/{done}"}
    world.kumo.wait_for(lambda: world.airflow.links(dag_id, run_id, "wait") == link, timeout=60)
    world.kumo.finish(done)
    if STARTS_TRIGGERS:
        world.airflow.wait_for_task(dag_id, run_id, "wait", "scheduled")
        world.airflow.set_pool("no_slots", 1)
    assert world.end(dag_id, run_id) == {"wait": "success"}
    result = world.airflow.xcom(dag_id, run_id, "wait")
    assert (result["job_id"], result["status"]) == (done, "DONE")
    assert result["metrics"]["test"]
    assert world.airflow.links(dag_id, run_id, "wait") == link
    told = world.told(dag_id, run_id, "wait", done)
    assert told[0] == f"Waiting for training job {done}. See {link['Kumo job']}"
    assert " ended as DONE " in told[-1]
    assert len(set(told)) == len(told)


def test_a_sensor_that_no_worker_has_started_ends_badly_as_others_do(world: World) -> None:
    dag_id = "case_from_trigger_bad_ends"
    run_id = world.airflow.trigger(dag_id)
    world.kumo.fail(world.jobs[1], title="Out of memory", message="Ask for more workers")
    assert world.end(dag_id, run_id) == {
        "wait": "failed",
        "wait_or_skip": "skipped",
        "wait_for_nothing": "failed",
        "wait_a_little": "failed",
    }
    assert {task["try_number"] for task in world.airflow.task_instances(dag_id, run_id)} == {1}
    for task, cause in (
        ("wait", "KumoJobFailedError: Training job"),
        ("wait", "Out of memory. Ask for more workers."),
        ("wait_for_nothing", "KumoNotFoundError"),
        ("wait_a_little", "has not ended within 8 s of the sensor's start"),
    ):
        assert cause in world.airflow.task_log(dag_id, run_id, task)


def test_a_sensor_can_start_in_the_triggerer_with_another_tasks_result(world: World) -> None:
    dag_id = "case_from_trigger_chain"
    if world.kumo.job(world.jobs[0]).status == "RUNNING":
        world.kumo.finish(world.jobs[0])
    world.kumo.hold(kind="training", count=1)
    run_id = world.airflow.trigger(dag_id)
    world.airflow.wait_for_task(dag_id, run_id, "wait", "deferred")
    job_id = world.airflow.xcom(dag_id, run_id, "retrain", "job_id")
    world.trigger_has_looked(job_id)
    waiting = {task["task_id"]: task["queued_when"] for task in world.airflow.task_instances(dag_id, run_id)}
    assert (waiting["wait"] is None) is AIRFLOW_V_3_3_PLUS
    world.kumo.release(job_id)
    assert set(world.end(dag_id, run_id).values()) == {"success"}
    assert world.airflow.xcom(dag_id, run_id, "wait")["job_id"] == job_id


def test_a_failing_job_and_a_rejected_prediction_fail_their_tasks_with_kumos_words(world: World) -> None:
    for name in RUNS:
        world.end(*world.runs[name])
    world.kumo.fail_next("training", title="Schema changed", message="Column AGE is gone")
    run_id, states = world.run("case_retrain_deferrable")
    assert states == {"retrain": "failed"}
    assert "Schema changed. Column AGE is gone." in world.airflow.task_log("case_retrain_deferrable", run_id, "retrain")

    world.kumo.reject_next(title="Model is not trained", message="It has status FAILED")
    run_id, states = world.run("case_predict_deferrable")
    assert states == {"predict": "failed"}
    assert "Model is not trained. It has status FAILED." in world.airflow.task_log(
        "case_predict_deferrable", run_id, "predict"
    )


def test_sensors_in_every_mode_see_a_job_through(world: World) -> None:
    run_id = world.airflow.trigger("case_start_only")
    assert world.end("case_start_only", run_id) == {"retrain": "success"}
    job_id = world.airflow.xcom("case_start_only", run_id, "retrain", "job_id")
    waits = {
        dag: world.airflow.trigger(dag, {"job_id": job_id})
        for dag in ("case_sensor_deferrable", "case_sensor_poke", "case_sensor_reschedule")
    }
    for dag_id, wait_id in waits.items():
        assert world.end(dag_id, wait_id) == {"wait": "success", "wait_or_skip": "success"}, world.logs(dag_id, wait_id)
        assert world.airflow.xcom(dag_id, wait_id, "wait")["job_id"] == job_id


def test_a_job_is_cancelled_by_the_operator(world: World) -> None:
    world.kumo.hold(kind="training", count=1)
    run_id = world.airflow.trigger("case_retrain_deferrable")
    job_id = world.deferred_job("case_retrain_deferrable", run_id, "retrain")
    _, states = world.run("case_cancel", job_id=job_id)
    assert states == {"cancel": "success", "cancel_again": "success"}
    assert world.kumo.job(job_id).status == "CANCELLED"
    assert world.end("case_retrain_deferrable", run_id) == {"retrain": "failed"}


@pytest.mark.parametrize("how", ["failed", "success", "run failed"])
def test_ending_a_deferred_task_cancels_its_job(world: World, how: str) -> None:
    dag_id, task = "case_retrain_deferrable", "retrain"
    run_id, job_id = world.held(dag_id, task)
    if how == "run failed":
        world.airflow.request("PATCH", f"dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})
    else:
        world.airflow.set_task_state(dag_id, run_id, task, how)
    world.kumo.wait_for(lambda: world.kumo.job(job_id).status == "CANCELLED", timeout=30)


def test_clearing_a_deferred_task_leaves_no_job_that_nobody_waits_for(world: World) -> None:
    """The trigger cancels the job, unless the next try is quicker: that one goes on with a job that lives."""
    dag_id, task = "case_retrain_deferrable", "retrain"
    run_id, job_id = world.held(dag_id, task)
    world.airflow.clear(dag_id, run_id, [task])
    world.kumo.wait_for(
        lambda: world.kumo.job(job_id).status == "CANCELLED" or "Going on with" in world.logs(dag_id, run_id),
        timeout=60,
    )
    world.kumo.release(job_id)
    assert world.end(dag_id, run_id) == {task: "success"}
    taken = world.airflow.xcom(dag_id, run_id, task)["job_id"]
    assert world.kumo.job(taken).status == "DONE"
    assert world.kumo.job(job_id).status == ("DONE" if taken == job_id else "CANCELLED")


def test_ending_one_mapped_task_cancels_its_job_alone(world: World) -> None:
    dag_id = "case_mapped_deferrable"
    world.kumo.hold(kind="training", count=2)
    run_id = world.airflow.trigger(dag_id)
    lives, ends = (world.deferred_job(dag_id, run_id, "retrain", index) for index in (0, 1))
    world.trigger_has_looked(ends)
    world.airflow.set_task_state(dag_id, run_id, "retrain", "failed", map_index=1)
    world.kumo.wait_for(lambda: world.kumo.job(ends).status == "CANCELLED", timeout=30)
    assert world.kumo.job(lives).status == "RUNNING"
    world.kumo.release(lives)
    assert world.end(dag_id, run_id)["retrain[0]"] == "success"


@pytest.mark.parametrize("how", ["stopped", "killed", "orphaned"])
def test_a_restarted_triggerer_goes_on_waiting_and_cancels_nothing(world: World, how: str) -> None:
    dag_id, task = "case_retrain_deferrable", "retrain"
    run_id, job_id = world.held(dag_id, task)
    if how == "orphaned":
        # Its supervisor alone: from Airflow 3 on the triggers run in a child, which finds its connection closed.
        world.airflow.kill_leader("triggerer")
        time.sleep(5)
    world.airflow.stop_component("triggerer", grace=0 if how == "killed" else 20)
    assert world.kumo.job(job_id).status == "RUNNING"
    world.airflow.start_component("triggerer")
    world.trigger_has_looked(job_id, seconds=60)
    world.kumo.release(job_id)
    assert world.end(dag_id, run_id) == {task: "success"}
    assert world.airflow.xcom(dag_id, run_id, task)["job_id"] == job_id
    told = world.told(dag_id, run_id, task, job_id)
    assert sum(line.startswith(f"Waiting goes on. Training job {job_id}: RUNNING, ") for line in told) == 1
    assert len(set(told)) == len(told)
