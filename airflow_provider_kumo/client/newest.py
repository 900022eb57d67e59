"""The newest successful training job of a query, found without trusting the order or the length of Kumo's lists.

Kumo documents neither. Its own client takes the first of a list of one, so newest first is likely, and is checked:
a page that is sorted from newest to oldest is not sorted so by chance. Otherwise the list is read in growing pages
until it is complete, and a list that is cut short is never mistaken for a complete one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.calls import Call
from airflow_provider_kumo.client.errors import KumoNotFoundError
from airflow_provider_kumo.client.jobs import Job, JobKind, JobStatus

Send = Callable[[Call[list[Job]]], list[Job]]

# Kumo's own client asks for ten jobs where nobody says how many: no server is taken to cut shorter than that. Ten jobs
# stand sorted by chance once in 10! = 3.6 million times.
_TRUSTED = 10
_FIRST_PAGE = 20
_GROWTH = 16
_LARGEST_PAGE = 100_000
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def newest_training_job(send: Send, pquery_id: str) -> Job | None:
    """Return the successful training job of a query that was created last, or None if there is none.

    :param send: sends a call and returns its result.
    :param pquery_id: id or name of the query; Kumo filters by the two under different names.
    :raises KumoNotFoundError: Kumo cuts its list short in an order that hides the newest job.
    """
    return _newest(send, "pquery_id", pquery_id) or _newest(send, "pquery_name", pquery_id)


def _newest(send: Send, by: str, value: str) -> Job | None:
    limit = _FIRST_PAGE
    while True:
        page = send(_successful(by, value, limit))
        # A server that does not know a filter ignores it; nothing is taken on trust.
        jobs = [job for job in page if job.status == JobStatus.DONE and _belongs(job, value)]
        is_telling = len(page) < _TRUSTED or _newest_first(page)
        if is_telling and (jobs or len(page) < limit):
            return max(jobs, key=_created, default=None)
        if len(page) < limit:
            if not _is_complete(send, page, limit):
                raise _hidden(value, len(page))
            return max(jobs, key=_created, default=None)
        if limit >= _LARGEST_PAGE:
            raise _hidden(value, len(page))
        limit *= _GROWTH


def _is_complete(send: Send, page: list[Job], limit: int) -> bool:
    """Tell whether a page that is shorter than asked was not cut by the server: then a longer list exists."""
    return len(send(calls.list_jobs(JobKind.TRAINING, limit=limit))) > len(page)


def _successful(by: str, value: str, limit: int) -> Call[list[Job]]:
    if by == "pquery_id":
        return calls.list_jobs(JobKind.TRAINING, pquery_id=value, status=JobStatus.DONE, limit=limit)
    return calls.list_jobs(JobKind.TRAINING, pquery_name=value, status=JobStatus.DONE, limit=limit)


def _belongs(job: Job, value: str) -> bool:
    named = {job.pquery_id, job.tags.get("pquery_id"), job.tags.get("pquery_name")} - {None}
    return not named or value in named


def _newest_first(page: list[Job]) -> bool:
    return all(_created(earlier) >= _created(later) for earlier, later in pairwise(page))


def _created(job: Job) -> datetime:
    return job.created_at or _BEFORE_ALL


def _hidden(value: str, count: int) -> KumoNotFoundError:
    return KumoNotFoundError(
        f"Kumo lists only {count} training jobs of predictive query {value!r}, and not from newest to oldest, so its "
        "newest model cannot be told. Name it with training_job_id."
    )
