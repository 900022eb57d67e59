"""How a trigger tells a killed task from a restart of its triggerer."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import TaskInstanceState

from airflow_provider_kumo.client import calls, logs
from airflow_provider_kumo.client.jobs import JobKind
from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.hooks.kumo import KumoHook
from airflow_provider_kumo.triggers import kumo, task_state

TI = SimpleNamespace(dag_id="dag", run_id="run", task_id="task", map_index=-1)


@pytest.fixture
def states(monkeypatch):
    """Return a function that sets what Airflow says about the task instance, or what goes wrong."""

    def set_to(*found):
        def read(ti):
            if found and isinstance(found[0], Exception):
                raise found[0]
            return found

        for source in ("_states_from_supervisor", "_states_from_database"):
            monkeypatch.setattr(task_state, source, read)

    return set_to


@pytest.mark.parametrize(
    ("found", "waits"),
    [
        (["deferred"], True),
        ([TaskInstanceState.DEFERRED], True),
        (["up_for_retry"], True),  # the next try goes on with the job
        (["success"], False),
        ([TaskInstanceState.FAILED], False),
        (["running"], False),
        ([None], False),  # just cleared
        ([], False),  # its run was deleted
    ],
)
async def test_a_task_waits_while_it_is_deferred(states, found, waits):
    states(*found)
    assert await task_state.is_still_deferred(TI) is waits


async def test_without_a_task_instance_nothing_is_cancelled():
    assert await task_state.is_still_deferred(None) is True


async def cancelled_trigger(job_id: str, monkeypatch) -> None:
    """Run a trigger as Airflow does before 3.3, cancel it, and wait for what it then does."""
    monkeypatch.setattr(kumo, "_AIRFLOW_CALLS_ON_KILL", False)
    trigger = kumo.KumoJobTrigger(
        kumo_conn_id="kumo_default", job_id=job_id, job_kind="training", poll_interval=60, cancel_on_kill=True
    )
    trigger.task_instance = TI
    running = asyncio.create_task(anext(trigger.run()))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.fixture
def job_id(kumo_emulator):
    kumo_emulator.hold(kind="training")
    return KumoHook().send(calls.create_training_job({**training_request(pquery_id="churn_30d"), "job_tags": {}}))


@pytest.mark.parametrize(("state", "status"), [(None, "CANCELLED"), ("failed", "CANCELLED"), ("deferred", "RUNNING")])
async def test_before_airflow_3_3_a_cancelled_trigger_asks_what_became_of_its_task(
    kumo_emulator, states, monkeypatch, job_id, state, status
):
    states(state)
    await cancelled_trigger(job_id, monkeypatch)
    kumo_emulator.wait_for(lambda: kumo_emulator.job(job_id).status == status)


async def test_what_goes_wrong_then_cancels_nothing_and_fails_no_task(kumo_emulator, states, monkeypatch, job_id):
    states(RuntimeError("no supervisor any more"))
    await cancelled_trigger(job_id, monkeypatch)
    assert "DELETE" not in {request.method for request in kumo_emulator.requests}
    assert kumo_emulator.job(job_id).status not in ("CANCELLED", "CANCELLING")


async def test_a_job_that_ended_meanwhile_is_not_marked_as_cancelled(kumo_emulator, states, monkeypatch):
    ended = kumo_emulator.jobs(JobKind.TRAINING.value)[0]
    states("failed")
    await cancelled_trigger(ended.id, monkeypatch)
    assert "airflow_cancel_requested" not in kumo_emulator.job(ended.id).tags


async def test_a_connection_that_is_not_there_for_a_moment_loses_no_wait(kumo_emulator, monkeypatch):
    ended = kumo_emulator.jobs(JobKind.TRAINING.value)[0]
    connection = os.environ["AIRFLOW_CONN_KUMO_DEFAULT"]
    monkeypatch.delenv("AIRFLOW_CONN_KUMO_DEFAULT")
    trigger = kumo.KumoJobTrigger(
        kumo_conn_id="kumo_default", job_id=ended.id, job_kind="training", poll_interval=0.1, cancel_on_kill=True
    )
    told = asyncio.Event()
    monkeypatch.setattr(logs.Outages, "spoiled", lambda self, error: told.set())
    running = asyncio.create_task(anext(trigger.run()))
    await asyncio.wait_for(told.wait(), 30)
    monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", connection)
    event = await asyncio.wait_for(running, 30)
    assert (event.payload["outcome"], event.payload["job"]["job_id"]) == ("ended", ended.id)
