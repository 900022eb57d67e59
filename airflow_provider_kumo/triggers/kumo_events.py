"""Watches Kumo for what people do there; for Airflow's asset watchers."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_kumo.assets import event_extra
from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import KumoError
from airflow_provider_kumo.client.finished import FIRST_LIMIT, NewModels, next_limit
from airflow_provider_kumo.client.jobs import TASK_KEY_TAG, JobKind, JobStatus
from airflow_provider_kumo.client.policy import ONE_TRY
from airflow_provider_kumo.client.requests import check_id, check_poll_interval, check_switch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable
    from datetime import timedelta

    from airflow_provider_kumo.client.aio import AsyncKumoClient
    from airflow_provider_kumo.client.jobs import Job

_POLL_INTERVAL = 60.0
_POLL_JITTER = 0.10

_log = logging.getLogger(__name__)


class KumoModelTrainedTrigger(BaseEventTrigger):
    """Fires once for each training of a predictive query that ends well, whoever has started it.

    For an asset watcher (Airflow 3.0 and later)::

        AssetWatcher(name="churn_30d", trigger=KumoModelTrainedTrigger(pquery_id="churn_30d"))

    The payload of an event is what the events of the operators' outlets hold
    (:func:`~airflow_provider_kumo.assets.event_extra`): ``training_job_id`` and more.

    Trainings that ended before the watcher was first started are old. From Airflow 3.3 on it keeps in the asset's
    state what it has told: after a restart it tells what ended meanwhile, at most a day ago, and nothing twice; and all
    watchers with the same connection and ``poll_interval`` share one poll. Before 3.3 each start is a first one:
    a training that ends while no triggerer runs, or within ``poll_interval`` of its end, is not told.

    Trouble with Kumo is waited out without end; the log says so.

    :param pquery_id: id or name of the predictive query.
    :param kumo_conn_id: id of the Airflow connection; the key itself is never part of a trigger.
    :param poll_interval: seconds or a timedelta between two looks; None takes the connection's, or else 60 s.
    :param skip_airflow_jobs: leave out trainings that this provider's operators have started. For an asset that is also
        an outlet of such a task, whose success is an event already.
    """

    def __init__(
        self,
        *,
        pquery_id: str,
        kumo_conn_id: str = "kumo_default",
        poll_interval: float | timedelta | None = None,
        skip_airflow_jobs: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pquery_id = check_id("pquery_id", pquery_id)
        self.kumo_conn_id = kumo_conn_id
        self.poll_interval = check_poll_interval(poll_interval)
        self.skip_airflow_jobs = check_switch("skip_airflow_jobs", skip_airflow_jobs)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what a triggerer needs to watch."""
        return (
            "airflow_provider_kumo.triggers.kumo_events.KumoModelTrainedTrigger",
            {
                "pquery_id": self.pquery_id,
                "kumo_conn_id": self.kumo_conn_id,
                "poll_interval": self.poll_interval,
                "skip_airflow_jobs": self.skip_airflow_jobs,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch with a poll of its own: before Airflow 3.3."""
        polls = self.open_shared_stream(self.serialize()[1])
        async for event in self.filter_shared_stream(polls):
            yield event

    def shared_stream_key(self) -> Hashable:
        """Name the poll that watchers share: one list of all queries' trainings serves them all."""
        return ("airflow_provider_kumo.triggers.kumo_events", self.kumo_conn_id, self.poll_interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[list[Job]]:
        """Yield the newest trainings that have ended well, of all queries, poll after poll."""
        # Not at import: a DAG file that holds a watcher loads this module.
        from airflow_provider_kumo.hooks.kumo import KumoHook

        hook = KumoHook(kwargs["kumo_conn_id"])
        interval: float = kwargs["poll_interval"] or _POLL_INTERVAL
        limit = FIRST_LIMIT
        told = ""
        while True:
            try:
                async with hook.async_client(budgets=ONE_TRY) as client:
                    interval = kwargs["poll_interval"] or client.config.poll_interval or _POLL_INTERVAL
                    while True:
                        jobs, limit = await _newest_trainings(client, limit)
                        yield jobs
                        told = ""
                        await _pause(interval)
            except KumoError as error:
                # Airflow starts a watcher that has failed again at once, and again. Without a connection, too, this one
                # waits.
                if told != (told := str(error)):
                    _log.error("%s The watch for new models goes on.", error)
            await _pause(interval)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[list[Job]]) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each new training of this watcher's query."""
        models = NewModels.resume(self.pquery_id, await self._kept_state(), now=datetime.now(UTC))
        await self._keep(models)
        async for jobs in shared_stream:
            wanted = [job for job in jobs if not (self.skip_airflow_jobs and TASK_KEY_TAG in job.tags)]
            for job in models.news(wanted):
                models.mark_told(job)
                yield TriggerEvent(event_extra(job))
                # After the event, which Airflow takes over when it asks for the next one.
                await self._keep(models)

    async def _kept_state(self) -> Any:
        """Read what an earlier start of this watcher has told, None if there was none or nobody keeps it."""
        store = self._store()
        if store is None:
            return None
        from airflow.sdk.exceptions import AirflowRuntimeError

        while True:
            try:
                return await store.aget(self._state_key)
            except AirflowRuntimeError as error:
                # Without it, what has been told would be told again.
                self.log.warning("%s: cannot read what has been told: %s Trying again.", self.pquery_id, error)
                await _pause(self.poll_interval or _POLL_INTERVAL)
            except ValueError as error:
                self.log.warning("%s: nothing is kept for a watcher of several assets: %s", self.pquery_id, error)
                return None

    async def _keep(self, models: NewModels) -> None:
        store = self._store()
        if store is None:
            return
        from airflow.sdk.exceptions import AirflowRuntimeError

        try:
            await store.aset(self._state_key, models.state())
        except (AirflowRuntimeError, ValueError) as error:
            self.log.warning("%s: what has been told may be told again after a restart: %s", self.pquery_id, error)

    def _store(self) -> Any:
        # Airflow 3.3 sets it before the trigger runs.
        return getattr(self, "asset_state_store", None)

    @property
    def _state_key(self) -> str:
        return f"kumo_models_told {self.kumo_conn_id} {self.pquery_id}"


async def _newest_trainings(client: AsyncKumoClient, limit: int) -> tuple[list[Job], int]:
    """Return the newest trainings that have ended well, and how long a list held them."""
    while True:
        page = await client.send(calls.list_jobs(JobKind.TRAINING, status=JobStatus.DONE, limit=limit))
        longer = next_limit(page, limit, now=datetime.now(UTC))
        if longer is None:
            return page, limit
        limit = longer


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds * random.uniform(1 - _POLL_JITTER, 1 + _POLL_JITTER))  # noqa: S311
