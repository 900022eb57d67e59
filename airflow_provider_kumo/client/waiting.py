"""Waiting for a job on the worker: the blocking twin of the trigger's loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import (
    KumoAuthenticationError,
    KumoError,
    KumoJobVanishedError,
    KumoNotFoundError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.policy import ONE_TRY, Budgets

if TYPE_CHECKING:
    from airflow_provider_kumo.client.jobs import Job, Progress
    from airflow_provider_kumo.client.logs import Log
    from airflow_provider_kumo.client.sync import KumoClient
    from airflow_provider_kumo.client.watch import Watch

_LOOK_BUDGETS = Budgets(missing=60.0)


def wait_for(client: KumoClient, job: Job, watch: Watch, *, log: Log) -> Job:
    """Look at a job until it has ended or the watch's deadline has passed, and return it as last seen.

    :param job: the job as just read.
    :raises KumoJobVanishedError: the job was there and is no more.
    :raises KumoError: Kumo could not be asked for longer than the budgets allow.
    """
    while True:
        tell(client, job, watch, log=log)
        pause = None if job.is_terminal else watch.pause(job, now=time.time())
        if pause is None:
            return job
        time.sleep(pause)
        try:
            job = look_again(client, job, budgets=watch.budgets(now=time.time()))
        except (KumoUnavailableError, KumoAuthenticationError) as error:
            if not watch.is_over(now=time.time()):
                raise
            log.warning("%s", error)
            return job


def look_again(client: KumoClient, job: Job, *, budgets: Budgets = _LOOK_BUDGETS) -> Job:
    """Read a job that was seen before.

    :param budgets: for how long trouble is waited out.
    :raises KumoJobVanishedError: it is no more.
    """
    try:
        return client.send(calls.get_job(job.kind, job.id), budgets=budgets)
    except KumoNotFoundError as error:
        raise KumoJobVanishedError(f"Kumo has no {job.kind.label} {job.id} any more.", job_id=job.id) from error


def tell(client: KumoClient, job: Job, watch: Watch, *, log: Log) -> None:
    """Write to the log what has changed about a job."""
    progress: Progress | None = None
    if watch.wants_progress(job, now=time.time()):
        try:
            progress = client.send(calls.get_progress(job.kind, job.id), budgets=ONE_TRY)
        except KumoError as error:
            log.debug("%s", error)
    if line := watch.news(job, progress):
        log.info("%s", line)
