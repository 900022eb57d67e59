"""Waits for a Kumo job that something else has started."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

from airflow_provider_kumo.arguments import check_settled, default_deferrable, is_settled
from airflow_provider_kumo.assets import describe_outlets
from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.endings import closing_lines, error_of, opening_line, timeout_of
from airflow_provider_kumo.client.errors import KumoArgumentError, KumoError, revive
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.client.policy import Budgets
from airflow_provider_kumo.client.requests import check_id, check_poll_interval, check_switch
from airflow_provider_kumo.client.watch import Watch
from airflow_provider_kumo.failures import told_to_airflow
from airflow_provider_kumo.links.kumo import TRACKING_URL_KEY, KumoJobLink
from airflow_provider_kumo.resumption import own_event, try_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import StartTriggerArgs

    from airflow_provider_kumo.client.sync import KumoClient
    from airflow_provider_kumo.hooks.kumo import KumoHook

_BACKSTOP_SLACK = timedelta(minutes=10)
# The scheduler of 3.1 and 3.2 has the code that starts triggers commented out (models/dagrun.py, schedule_tis).
_SCHEDULER_STARTS_TRIGGERS = AIRFLOW_V_3_3_PLUS or not AIRFLOW_V_3_1_PLUS
_UNKNOWN = object()


class KumoJobSensor(BaseSensorOperator):
    """Waits until a job has ended; fails if the job has failed or was cancelled. Never cancels a job itself.

    Returns the job as the operators do. ``soft_fail=True`` skips instead of failing.

    :param job_id: the job, from Kumo's UI or another task. (templated)
    :param job_kind: ``training`` or ``prediction``; None tells it from the id (``trainingjob-…``, ``bp-job-…``).
        (templated)
    :param kumo_conn_id: id of the Airflow connection. (templated)
    :param deferrable: wait in the triggerer instead of on a worker (then ``mode`` does not matter). Default:
        Airflow's ``[operators] default_deferrable`` if somebody has chosen it, else True.
    :param start_from_trigger: let the scheduler start the wait in the triggerer, so that no worker is needed before the
        job has ended. Airflow can do so in 2.11, 3.0 and from 3.3 on, but not with mapped tasks; before 3.3 not with
        templates and other tasks' results, and from 3.3 on not with templates that pull XComs themselves. Where it
        cannot, the sensor defers from a worker as usual.
    :param poll_interval: in deferrable mode, seconds or a timedelta between two looks; None spaces them by the job's
        age. The other modes use ``poke_interval``.
    :param timeout: seconds or a timedelta, counted from the sensor's start (Airflow's own argument).
    """

    template_fields: Sequence[str] = ("job_id", "job_kind", "kumo_conn_id")
    operator_extra_links = (KumoJobLink(),)
    ui_color = "#fde8ef"

    def __init__(
        self,
        *,
        job_id: str,
        job_kind: str | None = None,
        kumo_conn_id: str = "kumo_default",
        deferrable: bool | None = None,
        start_from_trigger: bool = False,
        poll_interval: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.job_kind = job_kind
        self.kumo_conn_id = kumo_conn_id
        from_trigger = check_switch("start_from_trigger", start_from_trigger)
        if from_trigger and deferrable is False:
            raise KumoArgumentError("start_from_trigger=True waits in the triggerer, which deferrable=False rules out.")
        if deferrable is None:
            self.deferrable = from_trigger or default_deferrable()
        else:
            self.deferrable = check_switch("deferrable", deferrable)
        self.poll_interval = check_poll_interval(poll_interval)
        self._pushed_url: str | None = None
        self._told = False
        self._watch = Watch(poll_interval=None, deadline=None)
        check_settled(check_id, "kumo_conn_id", kumo_conn_id)
        check_settled(JobKind.named, job_id, job_kind)
        # Set here and not on the class: a mapped sensor, which knows its arguments later, then has none.
        self.start_trigger_args = self._start_trigger_args() if from_trigger else None
        self.start_from_trigger = self.start_trigger_args is not None

    def _start_trigger_args(self) -> StartTriggerArgs | None:
        """Return what the scheduler starts the trigger with, or None if this Airflow cannot do that."""
        if not _SCHEDULER_STARTS_TRIGGERS:
            return None
        arguments = {name: self._in_trigger(getattr(self, name)) for name in self.template_fields}
        if _UNKNOWN in arguments.values():
            return None
        from airflow.triggers.base import StartTriggerArgs

        airflow_timeout = timedelta(seconds=self.timeout) + _BACKSTOP_SLACK
        ends = airflow_timeout if self.execution_timeout is None else min(airflow_timeout, self.execution_timeout)
        return StartTriggerArgs(
            trigger_cls="airflow_provider_kumo.triggers.kumo.KumoJobSensorTrigger",
            trigger_kwargs={
                **arguments,
                "poll_interval": self.poll_interval,
                "timeout": float(self.timeout),
                "airflow_timeout": ends.total_seconds(),
            },
            next_method="execute_complete",
            timeout=airflow_timeout,
        )

    def _in_trigger(self, value: Any) -> Any:
        """Return an argument as a trigger can have it, or ``_UNKNOWN`` if only a worker can tell it.

        In 3.3.0 to 3.3.2 a trigger waits for ever in a template that pulls an XCom without naming the map index: the
        triggerer does not know that request (``GetXComSequenceSlice``).
        """
        if is_settled(value):
            return value
        if not AIRFLOW_V_3_3_PLUS:
            return _UNKNOWN
        if isinstance(value, str):
            return _UNKNOWN if "xcom_pull" in value else value
        task, key = getattr(value, "operator", None), getattr(value, "key", None)
        if task is None or key is None or task.is_mapped:
            return _UNKNOWN
        if task.get_closest_mapped_task_group() or self.get_closest_mapped_task_group():
            return _UNKNOWN
        return f"{{{{ ti.xcom_pull(task_ids={task.task_id!r}, key={key!r}, map_indexes=-1) }}}}"

    def execute(self, context: Context) -> Any:
        """Look at the job, and wait for it in the triggerer, by poking or by rescheduling."""
        if not self.deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        try:
            _, job = self._look(context)
            if job.is_terminal:
                return self._finish(job, context)
        except AirflowFailException as error:
            # Airflow does this for a poke and for a resumed task, but not for a deferrable sensor's first look.
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        from airflow_provider_kumo.triggers.kumo import KumoJobTrigger

        self.log.info("%s", opening_line(job))
        return self.defer(
            trigger=KumoJobTrigger(
                kumo_conn_id=self.kumo_conn_id,
                job_id=job.id,
                job_kind=job.kind.value,
                poll_interval=self.poll_interval,
                deadline=deadline,
                deferred_at=time.time(),
            ),
            method_name="execute_complete",
            kwargs=try_of(context),
            timeout=timedelta(seconds=self.timeout) + _BACKSTOP_SLACK,
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the trigger's event, or begin if that was an earlier try's."""
        kwargs = own_event(next_kwargs, context)
        return self.execute(context) if kwargs is None else super().resume_execution(next_method, kwargs, context)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look at the job once."""
        from airflow_provider_kumo.client.waiting import tell

        client, job = self._look(context)
        if job.is_terminal:
            return PokeReturnValue(is_done=True, xcom_value=self._finish(job, context))
        if not self._told and not self.reschedule:
            # A rescheduled sensor does not know whether its log has this line already.
            self.log.info("%s", opening_line(job))
        self._told = True
        tell(client, job, self._watch, log=self.log)
        return False

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the trigger's event.

        :raises AirflowFailException: the job failed, was cancelled, or did not end in time.
        """
        with told_to_airflow():
            if event["outcome"] == "gave_up":
                raise revive(event["error_class"], event["error"], job_id=event["job_id"])
            job = Job.from_event(event["job"])
        if self.start_from_trigger:
            # No worker has looked at the job before.
            self._push_link(context, job)
        if event["outcome"] == "timed_out":
            error = timeout_of(job, timeout=self.timeout, since="the sensor's start")
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        return self._finish(job, context)

    def _look(self, context: Context) -> tuple[KumoClient, Job]:
        with told_to_airflow():
            kind = JobKind.named(self.job_id, self.job_kind)
            client = self._hook().get_conn()
            job = client.send(calls.get_job(kind, self.job_id), budgets=Budgets().within(self.timeout))
        self._push_link(context, job)
        return client, job

    def _push_link(self, context: Context, job: Job) -> None:
        if job.tracking_url != self._pushed_url:
            context["ti"].xcom_push(key=TRACKING_URL_KEY, value=job.tracking_url)
            self._pushed_url = job.tracking_url

    def _finish(self, job: Job, context: Context) -> dict[str, Any]:
        for line in closing_lines(job, now=time.time()):
            self.log.info("%s", line)
        error: KumoError | None = error_of(job)
        if error is not None:
            # The sensor would find the same ended job in every further try.
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        describe_outlets(self.outlets, context, job)
        return job.result()

    def _hook(self) -> KumoHook:
        from airflow_provider_kumo.hooks.kumo import KumoHook

        return KumoHook(self.kumo_conn_id)
