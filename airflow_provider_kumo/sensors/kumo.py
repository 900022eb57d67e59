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

from airflow_provider_kumo.arguments import check_settled, default_deferrable
from airflow_provider_kumo.assets import describe_outlets
from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.endings import closing_lines, error_of
from airflow_provider_kumo.client.errors import KumoError, revive
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.client.policy import Budgets
from airflow_provider_kumo.client.requests import check_poll_interval, check_switch
from airflow_provider_kumo.client.watch import Watch
from airflow_provider_kumo.failures import told_to_airflow
from airflow_provider_kumo.links.kumo import TRACKING_URL_KEY, KumoJobLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kumo.hooks.kumo import KumoHook

_BACKSTOP_SLACK = timedelta(minutes=10)


class KumoJobSensor(BaseSensorOperator):
    """Waits until a job has ended; fails if the job has failed or was cancelled. Never cancels a job itself.

    Returns the job as the operators do. ``soft_fail=True`` skips instead of failing.

    :param job_id: the job, from Kumo's UI or another task. (templated)
    :param job_kind: ``training`` or ``prediction``; None tells it from the id (``trainingjob-…``, ``bp-job-…``).
        (templated)
    :param kumo_conn_id: id of the Airflow connection. (templated)
    :param deferrable: wait in the triggerer instead of on a worker (then ``mode`` does not matter). Default:
        Airflow's ``[operators] default_deferrable`` if somebody has chosen it, else True.
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
        poll_interval: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.job_kind = job_kind
        self.kumo_conn_id = kumo_conn_id
        self.deferrable = default_deferrable() if deferrable is None else check_switch("deferrable", deferrable)
        self.poll_interval = check_poll_interval(poll_interval)
        self._pushed_url: str | None = None
        self._watch = Watch(poll_interval=None, deadline=None)
        check_settled(JobKind.named, job_id, job_kind)

    def execute(self, context: Context) -> Any:
        """Look at the job, and wait for it in the triggerer, by poking or by rescheduling."""
        if not self.deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        try:
            job = self._look(context)
            if job.is_terminal:
                return self._finish(job, context)
        except AirflowFailException as error:
            # Airflow does this for a poke and for a resumed task, but not for a deferrable sensor's first look.
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        from airflow_provider_kumo.triggers.kumo import KumoJobTrigger

        return self.defer(
            trigger=KumoJobTrigger(
                kumo_conn_id=self.kumo_conn_id,
                job_id=job.id,
                job_kind=job.kind.value,
                poll_interval=self.poll_interval,
                deadline=deadline,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + _BACKSTOP_SLACK,
        )

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look at the job once."""
        job = self._look(context)
        if not job.is_terminal:
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._finish(job, context))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the trigger's event.

        :raises AirflowFailException: the job failed, was cancelled, or did not end in time.
        """
        with told_to_airflow():
            if event["outcome"] == "gave_up":
                raise revive(event["error_class"], event["error"], job_id=event["job_id"])
            job = Job.from_event(event["job"])
        if event["outcome"] == "timed_out":
            raise AirflowFailException(f"{job.kind.label} {job.id} is {job.status}; the sensor's timeout has passed.")
        return self._finish(job, context)

    def _look(self, context: Context) -> Job:
        from airflow_provider_kumo.client.waiting import tell

        with told_to_airflow():
            kind = JobKind.named(self.job_id, self.job_kind)
            client = self._hook().get_conn()
            job = client.send(calls.get_job(kind, self.job_id), budgets=Budgets().within(self.timeout))
            tell(client, job, self._watch, log=self.log)
        if job.tracking_url != self._pushed_url:
            context["ti"].xcom_push(key=TRACKING_URL_KEY, value=job.tracking_url)
            self._pushed_url = job.tracking_url
        return job

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
