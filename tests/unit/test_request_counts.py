"""What each operator and mode asks of Kumo, counted on the local Kumo's own record."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoCancelJobOperator, KumoRetrainOperator
from airflow_provider_kumo.sensors.kumo import KumoJobSensor
from airflow_provider_kumo.triggers.kumo import KumoJobTrigger

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.local import LocalKumo

QUERY = "pquery-churn-30d"
# What a person reads: the names of the steps.
LOOKUP, LOOK = "GET jobs?airflow_task_key", "GET jobs/ID"
SUBMIT, TAG, CANCEL, PROGRESS = "POST jobs", "PATCH jobs/ID/tags", "POST jobs/ID/cancel", "GET jobs/ID/progress"
NEWEST = "GET jobs?job_status&limit&pquery_id"
SNAPSHOT = ["GET predictive_queries/ID", "POST graphs?force_rename", "POST graphsnapshots?graph_id&refresh_source"]
STARTED = [LOOKUP, SUBMIT, LOOKUP]


def context() -> Any:
    """Return the context of a first try; Airflow's task instance is a stub."""
    return {
        "ti": SimpleNamespace(
            dag_id="dag",
            run_id="run",
            task_id="task",
            map_index=-1,
            try_number=1,
            max_tries=0,
            start_date=datetime.now(UTC),
            xcom_push=lambda key, value: None,
        )
    }


def asked(kumo: LocalKumo) -> list[str]:
    """Return the requests since the last call, each as its method, path and the names in its query."""
    steps = []
    for request in kumo.requests:
        path = re.sub(r"(training|prediction)_jobs", "jobs", request.path.removeprefix("/api/v1/"))
        path = re.sub(r"^(jobs|predictive_queries)/[^/]+", r"\1/ID", path)
        # Which tags are written is the business of other tests.
        query = "" if request.method == "PATCH" else "&".join(sorted(request.query))
        steps.append(f"{request.method} {path}" + (f"?{query}" if query else ""))
    kumo.clear_requests()
    return steps


def retrain(**arguments: Any) -> KumoRetrainOperator:
    return KumoRetrainOperator(task_id="task", **{"pquery_id": QUERY, "model_plan": {}, **arguments})


def predict(kumo: LocalKumo, **arguments: Any) -> KumoBatchPredictOperator:
    if not arguments:
        arguments = {"training_job_id": next(j.id for j in kumo.jobs("training") if j.status == "DONE")}
    return KumoBatchPredictOperator(task_id="task", **arguments)


def job_ids(kumo: LocalKumo) -> list[str]:
    return [job.id for job in kumo.jobs() if "airflow_task_key" in job.tags]


def wait(trigger: KumoJobTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return dict((await anext(KumoJobTrigger(**trigger.serialize()[1]).run())).payload)

    return asyncio.run(first())


CASES = {
    "retrain": (lambda kumo: retrain(), STARTED),
    "retrain, copying the newest plan": (
        lambda kumo: retrain(model_plan=None),
        [LOOKUP, NEWEST, SUBMIT, LOOKUP],
    ),
    "retrain, on a fresh snapshot": (
        lambda kumo: retrain(refresh_snapshot=True),
        [LOOKUP, *SNAPSHOT, SUBMIT, LOOKUP],
    ),
    "retrain, both": (
        lambda kumo: retrain(model_plan=None, refresh_snapshot=True),
        [LOOKUP, NEWEST, *SNAPSHOT, SUBMIT, LOOKUP],
    ),
    "retrain, for this try alone": (lambda kumo: retrain(durable=False), [SUBMIT, LOOK]),
    "predict with a model": (lambda kumo: predict(kumo), STARTED),
    "predict with the newest model": (lambda kumo: predict(kumo, pquery_id=QUERY), [LOOKUP, NEWEST, SUBMIT, LOOKUP]),
}


@pytest.mark.parametrize("case", CASES)
def test_from_execute_to_the_deferral(kumo_emulator: LocalKumo, case: str) -> None:
    make, steps = CASES[case]
    kumo_emulator.hold()
    operator = make(kumo_emulator)
    kumo_emulator.clear_requests()
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    assert asked(kumo_emulator) == steps


@pytest.mark.parametrize("case", CASES)
def test_a_task_that_does_not_wait_writes_that_it_has_its_job(kumo_emulator: LocalKumo, case: str) -> None:
    make, steps = CASES[case]
    kumo_emulator.hold()
    operator = make(kumo_emulator)
    operator.wait_for_completion = False
    kumo_emulator.clear_requests()
    operator.execute(context())
    assert asked(kumo_emulator) == [*steps, *([TAG] if operator.durable else [])]


@pytest.mark.parametrize("case", CASES)
def test_a_blocking_task_adds_looks_and_one_tag(kumo_emulator: LocalKumo, case: str) -> None:
    make, steps = CASES[case]
    operator = make(kumo_emulator)
    operator.deferrable = False
    kumo_emulator.clear_requests()
    operator.execute(context())
    seen = asked(kumo_emulator)
    assert seen[: len(steps)] == steps
    assert set(seen[len(steps) :]) <= {LOOK, PROGRESS, TAG}
    assert seen.count(TAG) == (1 if operator.durable else 0)


@pytest.mark.parametrize("case", CASES)
def test_resuming_costs_one_tag(kumo_emulator: LocalKumo, case: str) -> None:
    make, _ = CASES[case]
    operator = make(kumo_emulator)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    event = wait(deferred.value.trigger)
    kumo_emulator.clear_requests()
    operator.execute_complete(context(), event)
    assert asked(kumo_emulator) == ([TAG] if operator.durable else [])


def test_going_on_with_the_job_of_an_earlier_try_costs_one_lookup(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold()
    for steps in (STARTED, [LOOKUP]):
        with pytest.raises(TaskDeferred):
            retrain().execute(context())
        assert asked(kumo_emulator) == steps


def test_a_sensor_looks_once_before_it_defers_and_asks_nothing_when_it_resumes(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(count=1)
    retrain(wait_for_completion=False).execute(context())
    (job_id,) = job_ids(kumo_emulator)
    kumo_emulator.wait_for(lambda: kumo_emulator.job(job_id).status == "RUNNING")
    kumo_emulator.clear_requests()
    sensor = KumoJobSensor(task_id="wait", job_id=job_id, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context())
    assert asked(kumo_emulator) == [LOOK]
    kumo_emulator.finish(job_id)
    event = wait(deferred.value.trigger)
    kumo_emulator.clear_requests()
    sensor.execute_complete(context(), event)
    assert asked(kumo_emulator) == []


def test_cancelling_costs_one_cancel_and_looks_until_it_has_ended(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold()
    retrain(wait_for_completion=False).execute(context())
    (job_id,) = job_ids(kumo_emulator)
    kumo_emulator.clear_requests()
    KumoCancelJobOperator(task_id="cancel", job_id=job_id).execute(context())
    assert [step for step in asked(kumo_emulator) if step not in (LOOK, PROGRESS)] == [CANCEL]
