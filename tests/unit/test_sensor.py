"""How the sensor starts its wait without a worker, and what its trigger makes of what a worker would have told it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred, task_group
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

from airflow_provider_kumo.operators.kumo import KumoRetrainOperator
from airflow_provider_kumo.sensors.kumo import KumoJobSensor
from airflow_provider_kumo.triggers.kumo import KumoJobSensorTrigger

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.local import LocalKumo

STARTS_TRIGGERS = AIRFLOW_V_3_3_PLUS or not AIRFLOW_V_3_1_PLUS
RENDERS_FOR_TRIGGERS = AIRFLOW_V_3_3_PLUS


def sensor(**arguments: Any) -> KumoJobSensor:
    return KumoJobSensor(task_id="wait", **{"job_id": "trainingjob-1", "start_from_trigger": True, **arguments})


def asked_of_the_scheduler(task: Any) -> dict[str, Any] | None:
    """Return what the scheduler would start the task's trigger with, by the DAG that it reads."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization

    if not task.has_dag():
        DAG(dag_id="waits", start_date=datetime(2026, 1, 1), schedule=None).add_task(task)
    read = Serialization.from_dict(json.loads(json.dumps(Serialization.to_dict(task.dag)))).get_task("wait")
    if not read.start_from_trigger:
        return None
    kwargs = read.start_trigger_args.trigger_kwargs
    return dict(kwargs.get("__var", kwargs))


@pytest.mark.skipif(not STARTS_TRIGGERS, reason="the scheduler of Airflow 3.1 and 3.2 starts no triggers")
class TestWhereTheSchedulerStartsTriggers:
    def test_it_gets_all_that_the_trigger_needs(self) -> None:
        told = asked_of_the_scheduler(sensor(poll_interval=timedelta(minutes=1), timeout=3600))
        assert told == {
            "job_id": "trainingjob-1",
            "job_kind": None,
            "kumo_conn_id": "kumo_default",
            "poll_interval": 60.0,
            "timeout": 3600.0,
            "airflow_timeout": 4200.0,
        }
        assert KumoJobSensorTrigger(**told).serialize()[1] == told

    def test_two_sensors_do_not_share_their_arguments(self) -> None:
        first, second = sensor(job_id="trainingjob-1"), sensor(job_id="trainingjob-2")
        assert first.start_trigger_args.trigger_kwargs["job_id"] == "trainingjob-1"
        assert second.start_trigger_args.trigger_kwargs["job_id"] == "trainingjob-2"

    def test_an_execution_timeout_that_ends_the_wait_sooner_is_known_to_the_trigger(self) -> None:
        told = asked_of_the_scheduler(sensor(timeout=3600, execution_timeout=timedelta(minutes=5)))
        assert told is not None
        assert told["airflow_timeout"] == 300.0


@pytest.mark.skipif(STARTS_TRIGGERS, reason="the scheduler of this Airflow starts triggers")
def test_where_the_scheduler_starts_no_triggers_a_worker_defers() -> None:
    assert asked_of_the_scheduler(sensor()) is None


def test_a_template_reaches_the_trigger_only_where_airflow_renders_it_there() -> None:
    told = asked_of_the_scheduler(sensor(job_id="{{ params.job_id }}"))
    assert (told and told["job_id"]) == ("{{ params.job_id }}" if RENDERS_FOR_TRIGGERS else None)


def test_another_tasks_result_reaches_the_trigger_as_a_template() -> None:
    with DAG(dag_id="chain", start_date=datetime(2026, 1, 1), schedule=None):
        retrain = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", wait_for_completion=False)
        wait = sensor(job_id=retrain.output["job_id"])
    told = asked_of_the_scheduler(wait)
    assert wait.upstream_task_ids == {"retrain"}
    if RENDERS_FOR_TRIGGERS:
        assert told is not None
        assert told["job_id"] == "{{ ti.xcom_pull(task_ids='retrain', key='job_id', map_indexes=-1) }}"
    else:
        assert told is None


def test_a_template_that_would_hang_in_the_triggerer_is_left_to_a_worker() -> None:
    assert asked_of_the_scheduler(sensor(job_id="{{ ti.xcom_pull(task_ids='which') }}")) is None


def test_what_is_only_known_in_a_mapped_task_group_is_left_to_a_worker() -> None:
    @task_group
    def each(query: Any) -> None:
        start = KumoRetrainOperator(task_id="retrain", pquery_id=query, wait_for_completion=False)
        made.append(sensor(job_id=start.output["job_id"]))

    made: list[KumoJobSensor] = []
    with DAG(dag_id="groups", start_date=datetime(2026, 1, 1), schedule=None):
        each.expand(query=["churn_30d", "ltv_90d"])
    assert made[0].start_trigger_args is None


def test_a_mapped_sensor_defers_from_a_worker() -> None:
    with DAG(dag_id="mapped", start_date=datetime(2026, 1, 1), schedule=None):
        wait = KumoJobSensor.partial(task_id="wait", start_from_trigger=True).expand(job_id=["trainingjob-1"])
    assert wait.start_trigger_args is None


def test_by_default_a_worker_looks_first() -> None:
    assert asked_of_the_scheduler(sensor(start_from_trigger=False)) is None


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs a sensor's trigger and returns its event, what it logged, and the XComs it stored."""
    caplog.set_level(logging.INFO)

    def run(*, waited: float = 0.0, **arguments: Any) -> tuple[dict[str, Any], str, dict[str, Any]]:
        xcoms: dict[str, Any] = {}

        def store(*, key: str, value: Any, **_: Any) -> None:
            xcoms[key] = value

        monkeypatch.setattr("airflow_provider_kumo.triggers.kumo.XCom", SimpleNamespace(set=store))
        given = {"kumo_conn_id": "kumo_default", "job_kind": None, "poll_interval": 0.05, "timeout": 60.0}
        trigger = KumoJobSensorTrigger(**{**given, "airflow_timeout": 660.0, **arguments})
        trigger.task_instance = SimpleNamespace(dag_id="dag", run_id="run", task_id="wait", map_index=-1)
        trigger.timeout_after = datetime.now(UTC) + timedelta(seconds=660 - waited)
        caplog.clear()
        capfd.readouterr()
        [event] = asyncio.run(_events(trigger))
        # Some Airflows write to stdout alone, others to the logging module too.
        written = "".join(capfd.readouterr())
        return event.payload, caplog.text or written, xcoms

    return run


async def _events(trigger: KumoJobSensorTrigger) -> list[Any]:
    return [event async for event in trigger.run()]


class TestTheTriggerOfASensorThatNoWorkerHasStarted:
    def test_it_finds_a_job_that_has_ended_at_once(self, kumo_emulator: LocalKumo, told: Any) -> None:
        job = kumo_emulator.jobs("training")[0]
        began = time.monotonic()
        event, _, xcoms = told(job_id=job.id, poll_interval=None)
        assert event["outcome"] == "ended"
        assert event["job"]["status"] == "DONE"
        assert xcoms == {"tracking_url": f"{kumo_emulator.origin}/jobs/{job.id}"}
        assert time.monotonic() - began < 10

    def test_its_timeout_counts_from_the_tasks_start(self, kumo_emulator: LocalKumo, told: Any) -> None:
        job_id = _held(kumo_emulator)
        event, log, xcoms = told(job_id=job_id, waited=2.0, timeout=2.5)
        assert event["outcome"] == "timed_out"
        link = f"{kumo_emulator.origin}/jobs/{job_id}"
        assert xcoms == {"tracking_url": link}
        assert log.count(f"Waiting for training job {job_id}. See {link}") == 1

    def test_after_a_restart_of_the_triggerer_it_does_not_introduce_itself_again(
        self, kumo_emulator: LocalKumo, told: Any
    ) -> None:
        job_id = _held(kumo_emulator)
        _, log, xcoms = told(job_id=job_id, waited=59.5)
        assert log.count(f"Waiting goes on. Training job {job_id}: ") == 1
        assert "Waiting for" not in log
        assert xcoms == {"tracking_url": f"{kumo_emulator.origin}/jobs/{job_id}"}

    @pytest.mark.parametrize(
        ("job_id", "error"), [("trainingjob-nothere", "KumoNotFoundError"), ("my job", "KumoArgumentError")]
    )
    def test_what_cannot_be_waited_for_fails_the_task_for_good(
        self, kumo_emulator: LocalKumo, told: Any, job_id: str, error: str
    ) -> None:
        event, _, _ = told(job_id=job_id)
        assert (event["outcome"], event["error_class"]) == ("gave_up", error)
        with pytest.raises(AirflowFailException, match=error):
            sensor().execute_complete({}, event)

    def test_a_link_that_cannot_be_stored_is_told_and_the_wait_goes_on(
        self, kumo_emulator: LocalKumo, told: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = kumo_emulator.jobs("training")[0]
        with mock.patch("airflow_provider_kumo.triggers.kumo.sync_to_async", side_effect=RuntimeError("no database")):
            event, log, _ = told(job_id=job.id)
        assert event["outcome"] == "ended"
        assert "The link could not be stored, so there is no button yet." in log


@pytest.mark.skipif(not STARTS_TRIGGERS, reason="a worker has looked at the job before, in Airflow 3.1 and 3.2")
def test_the_worker_that_ends_the_task_stores_the_link_too(kumo_emulator: LocalKumo) -> None:
    job = kumo_emulator.jobs("training")[0]
    event = {"version": 1, "outcome": "ended", "job": {"job_id": job.id, "kind": "training", "status": "DONE"}}
    event["job"]["tracking_url"] = "https://kumo.example.com/jobs/1"
    ti = mock.Mock()
    assert sensor().execute_complete({"ti": ti}, event)["status"] == "DONE"
    ti.xcom_push.assert_called_once_with(key="tracking_url", value="https://kumo.example.com/jobs/1")


def test_an_event_in_the_log_is_one_short_line(kumo_emulator: LocalKumo) -> None:
    job = kumo_emulator.jobs("training")[0]
    trigger = KumoJobSensorTrigger(
        kumo_conn_id="kumo_default",
        job_id=job.id,
        job_kind=None,
        poll_interval=0.05,
        timeout=60.0,
        airflow_timeout=660.0,
    )
    trigger.task_instance = SimpleNamespace(dag_id="dag", run_id="run", task_id="wait", map_index=-1)
    [event] = asyncio.run(_events(trigger))
    assert repr(event) == f"<ended: {job.id}>"


def _held(kumo: LocalKumo) -> str:
    kumo.hold(kind="training", count=1)
    ti = mock.Mock(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, max_tries=0, start_date=None)
    with pytest.raises(TaskDeferred) as deferred:
        KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d").execute({"ti": ti})
    return str(deferred.value.trigger.job_id)
