"""Waits for one Kumo job in the triggerer, and ends in exactly one event."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.endings import opening_line
from airflow_provider_kumo.client.errors import (
    KumoAuthenticationError,
    KumoError,
    KumoJobVanishedError,
    KumoNotFoundError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.jobs import Job, JobKind, Progress, cancel_tags
from airflow_provider_kumo.client.policy import ONE_TRY, Budgets, first_look
from airflow_provider_kumo.client.watch import Watch
from airflow_provider_kumo.links.kumo import TRACKING_URL_KEY
from airflow_provider_kumo.triggers.task_state import is_still_deferred

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_kumo.client.aio import AsyncKumoClient

# Airflow gives on_kill 30 seconds by default.
_CANCEL_BUDGETS = Budgets(service=15.0, refused_key=0.0)
_CONFIRM_SECONDS = 20.0
_CONFIRM_PAUSE = 1.0
_AIRFLOW_CALLS_ON_KILL = hasattr(BaseTrigger, "on_kill")
# A trigger that starts longer after its task has deferred than a triggerer needs to pick it up was probably started
# before, in another triggerer.
_PICKED_UP_WITHIN = 5.0
# The event loop itself holds tasks only weakly.
_cancelling: set[asyncio.Task[None]] = set()


class KumoJobEvent(TriggerEvent):
    """A trigger's event. Airflow writes it into the task's log, where one line is enough; the payload is a page."""

    def __repr__(self) -> str:
        job = self.payload.get("job") or {}
        return f"<{self.payload['outcome']}: {job.get('job_id') or self.payload['job_id']}>"


class KumoJobTrigger(BaseTrigger):
    """Waits until a job has ended.

    The event holds JSON primitives only: ``{"version": 1, "outcome": …}`` with

    - ``ended`` and ``job``: the job is in a terminal status, good or bad;
    - ``timed_out`` and ``job``: it has not ended by the deadline, or Kumo could not be asked when that passed;
    - ``gave_up``, ``job_id``, ``tracking_url``, ``error_class`` and ``error``: Kumo could not be asked for too long, or
      has no such job.

    :param kumo_conn_id: id of the Airflow connection; the key itself is never part of a trigger.
    :param job_id: the job.
    :param job_kind: ``training`` or ``prediction``; None tells it from the id.
    :param poll_interval: seconds between two looks; None spaces them by the job's age.
    :param deadline: POSIX time in seconds at which to give up; None for never.
    :param cancel_on_kill: whether to cancel the job when a person marks the waiting task failed or successful, or
        clears it. A restart or shutdown of the triggerer never cancels.
    :param deferred_at: POSIX time in seconds at which the task began to wait, or None. A trigger that starts much later
        was taken over from another triggerer: what it finds first may be in the log already.
    """

    def __init__(
        self,
        *,
        kumo_conn_id: str,
        job_id: str,
        job_kind: str | None,
        poll_interval: float | None = None,
        deadline: float | None = None,
        cancel_on_kill: bool = False,
        deferred_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kumo_conn_id = kumo_conn_id
        self.job_id = job_id
        self.job_kind = job_kind
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.cancel_on_kill = cancel_on_kill
        self.deferred_at = deferred_at
        # What the event, and whoever reads the log, is told when Kumo cannot be asked any more.
        self._last_seen: Job | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on waiting."""
        return (
            "airflow_provider_kumo.triggers.kumo.KumoJobTrigger",
            {
                "kumo_conn_id": self.kumo_conn_id,
                "job_id": self.job_id,
                "job_kind": self.job_kind,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "cancel_on_kill": self.cancel_on_kill,
                "deferred_at": self.deferred_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job and yield one event."""
        try:
            event = await self._wait()
        except asyncio.CancelledError:
            if not _AIRFLOW_CALLS_ON_KILL:
                await self._on_kill_before_3_3()
            raise
        yield KumoJobEvent(payload=event)

    async def on_kill(self) -> None:
        """Cancel the job because a person ended the task. Called by Airflow 3.3 and later.

        Airflow 3.3 cancels this coroutine again in every turn of the triggerer's loop, about once a second, until it
        has ended. The work goes on in a task of its own, which that does not reach.
        """
        work = asyncio.create_task(self._cancel_if_killed())
        _cancelling.add(work)
        work.add_done_callback(_cancelling.discard)
        await asyncio.shield(work)

    async def _on_kill_before_3_3(self) -> None:
        try:
            await self.on_kill()
        except Exception:
            # In place of the CancelledError it would fail a task that still waits, in another triggerer by then.
            self.log.exception("%s may still be running in Kumo, see %s", self.job_id, self._page)

    async def _wait(self) -> dict[str, Any]:
        try:
            kind = JobKind.named(self.job_id, self.job_kind)
            async with self._hook().async_client() as client:
                interval = self.poll_interval or client.config.poll_interval
                watch = Watch(poll_interval=interval, deadline=self.deadline, taken_over=self._is_taken_over())
                job = await self._begin(client, kind, interval)
                return await self._watch(client, watch, kind, job)
        except KumoError as error:
            return self._gave_up(error)

    def _is_taken_over(self) -> bool:
        return self.deferred_at is not None and time.time() - self.deferred_at > _PICKED_UP_WITHIN

    async def _begin(self, client: AsyncKumoClient, kind: JobKind, interval: float | None) -> Job | None:  # noqa: ARG002
        """Let the first look come when it should; return the job if it has been looked at."""
        await asyncio.sleep(self._within_deadline(first_look(kind, poll_interval=interval)))
        return None

    def _within_deadline(self, seconds: float) -> float:
        return seconds if self.deadline is None else min(seconds, max(0.0, self.deadline - time.time()))

    async def _watch(self, client: AsyncKumoClient, watch: Watch, kind: JobKind, job: Job | None) -> dict[str, Any]:
        call = calls.get_job(kind, self.job_id)
        while True:
            if job is None:
                try:
                    job = await self._look(client, call, kind, watch.budgets(now=time.time()))
                except (KumoUnavailableError, KumoAuthenticationError) as error:
                    if self._last_seen is None or not watch.is_over(now=time.time()):
                        raise
                    self.log.warning("%s", error)
                    return {"version": 1, "outcome": "timed_out", "job": self._last_seen.to_event()}
            self._last_seen = Job(id=job.id, kind=job.kind, status=job.status, tracking_url=job.tracking_url)
            now = time.time()
            progress = await self._progress(client, job) if watch.wants_progress(job, now=now) else None
            if line := watch.news(job, progress):
                self.log.info("%s", line)
            if job.is_terminal:
                return {"version": 1, "outcome": "ended", "job": job.to_event()}
            pause = watch.pause(job, now=now)
            if pause is None:
                return {"version": 1, "outcome": "timed_out", "job": job.to_event()}
            # A thousand waiting triggers hold a thousand of what is not let go here.
            del progress, line
            job = None
            await asyncio.sleep(pause)

    async def _look(self, client: AsyncKumoClient, call: calls.Call[Job], kind: JobKind, budgets: Budgets) -> Job:
        try:
            return await client.send(call, budgets=budgets)
        except KumoNotFoundError as error:
            text = f"Kumo has no {kind.label} {self.job_id} any more."
            raise KumoJobVanishedError(text, job_id=self.job_id) from error

    async def _progress(self, client: AsyncKumoClient, job: Job) -> Progress | None:
        try:
            return await client.send(calls.get_progress(job.kind, job.id), budgets=ONE_TRY)
        except KumoError as error:
            # The job itself was just read, so this costs a log line its percentage and nothing else.
            self.log.debug("%s", error)
            return None

    def _gave_up(self, error: KumoError) -> dict[str, Any]:
        return {
            "version": 1,
            "outcome": "gave_up",
            "job_id": self.job_id,
            "tracking_url": None if self._last_seen is None else self._last_seen.tracking_url,
            "error_class": type(error).__name__,
            "error": str(error),
        }

    async def _cancel_if_killed(self) -> None:
        """Cancel the job, unless the task still waits for it and only this triggerer has to let it go."""
        if not self.cancel_on_kill or await is_still_deferred(self.task_instance):
            return
        kind = JobKind.named(self.job_id, self.job_kind)
        try:
            async with self._hook().async_client() as client:
                self.log.info("The task was ended by a person: cancelling %s %s.", kind.label, self.job_id)
                # The tag comes second, as in submission.cancel: what is killed in between must leave no job running.
                if not await client.send(calls.cancel_job(kind, self.job_id), budgets=_CANCEL_BUDGETS):
                    self.log.info("%s %s has already ended.", kind.label.capitalize(), self.job_id)
                    return
                await client.send(calls.update_tags(kind, self.job_id, cancel_tags()), budgets=_CANCEL_BUDGETS)
                await self._confirm_cancelled(client, kind)
        except KumoError as error:
            self.log.warning("%s may still be running in Kumo, see %s: %s", self.job_id, self._page, error)

    async def _confirm_cancelled(self, client: AsyncKumoClient, kind: JobKind) -> None:
        deadline = time.monotonic() + _CONFIRM_SECONDS
        while True:
            job = await client.send(calls.get_job(kind, self.job_id), budgets=_CANCEL_BUDGETS)
            if job.is_terminal:
                self.log.info("%s %s ended as %s.", kind.label.capitalize(), job.id, job.status)
                return
            if time.monotonic() > deadline:
                self.log.warning("%s was to be cancelled and is still %s, see %s", job.id, job.status, job.page)
                return
            await asyncio.sleep(_CONFIRM_PAUSE)

    @property
    def _page(self) -> str:
        return "its page" if self._last_seen is None else self._last_seen.page

    def _hook(self) -> Any:
        # Not at import: the hook is not needed to serialize a trigger, which is all that a worker does with it.
        from airflow_provider_kumo.hooks.kumo import KumoHook

        return KumoHook(self.kumo_conn_id)


class KumoJobSensorTrigger(KumoJobTrigger):
    """Waits for a sensor that no worker has started (``start_from_trigger``), and does what a worker would have done.

    It looks at once, tells a job that is not there from one that has gone, and gives the task its link. Its arguments
    were settled when the DAG was parsed, so when its time is up follows from when Airflow's own timeout is.

    :param kumo_conn_id: id of the Airflow connection. (templated on Airflow 3.3)
    :param job_id: the job. (templated on Airflow 3.3)
    :param job_kind: ``training`` or ``prediction``; None tells it from the id. (templated on Airflow 3.3)
    :param poll_interval: seconds between two looks; None spaces them by the job's age.
    :param timeout: seconds that the sensor may take from its start.
    :param airflow_timeout: seconds from its start after which Airflow ends the wait.
    """

    def __init__(
        self,
        *,
        kumo_conn_id: str,
        job_id: str,
        job_kind: str | None,
        poll_interval: float | None,
        timeout: float,
        airflow_timeout: float,
    ) -> None:
        super().__init__(kumo_conn_id=kumo_conn_id, job_id=job_id, job_kind=job_kind, poll_interval=poll_interval)
        self.timeout = timeout
        self.airflow_timeout = airflow_timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on waiting."""
        return (
            "airflow_provider_kumo.triggers.kumo.KumoJobSensorTrigger",
            {
                "kumo_conn_id": self.kumo_conn_id,
                "job_id": self.job_id,
                "job_kind": self.job_kind,
                "poll_interval": self.poll_interval,
                "timeout": self.timeout,
                "airflow_timeout": self.airflow_timeout,
            },
        )

    async def _wait(self) -> dict[str, Any]:
        self.deferred_at = self._started()
        self.deadline = self.deferred_at + self.timeout
        return await super()._wait()

    def _started(self) -> float:
        # Airflow 3 writes its timeout to the trigger, Airflow 2 has it in the task instance.
        ends = getattr(self, "timeout_after", None) or getattr(self.task_instance, "trigger_timeout", None)
        return time.time() if ends is None else ends.timestamp() - self.airflow_timeout

    async def _begin(self, client: AsyncKumoClient, kind: JobKind, interval: float | None) -> Job | None:
        taken_over = self._is_taken_over()
        if taken_over:
            await super()._begin(client, kind, interval)
        # Without the patience that a job which was there deserves: one that never was there will not come.
        job = await client.send(calls.get_job(kind, self.job_id), budgets=Budgets().within(self.timeout))
        if not taken_over and not job.is_terminal:
            self.log.info("%s", opening_line(job))
        await self._push_link(job)
        return job

    async def _push_link(self, job: Job) -> None:
        ti: Any = self.task_instance
        names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        try:
            await sync_to_async(XCom.set)(key=TRACKING_URL_KEY, value=job.tracking_url, **names)
        except Exception:
            # The button only comes later then: the worker that ends the task pushes the link once more.
            self.log.warning("The link could not be stored, so there is no button yet.", exc_info=True)
