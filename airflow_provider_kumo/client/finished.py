"""Which trainings have newly ended well, look by look, without a clock or a socket.

Kumo documents neither the order nor the longest length of its lists, so nothing rests on them: a job is news by its end
and its id. What has been told travels as plain data, so that another process can go on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_kumo.client.jobs import Job, JobKind, JobStatus, parse_datetime

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FIRST_LIMIT = 100
_GROWTH = 4
_LARGEST_LIMIT = 100_000
# Kumo trains for ten hours as a rule, and four times as long in its "best" mode: what ends now was created since then.
_LONGEST_TRAINING = timedelta(days=3)
# A watcher whose DAG was paused for a month must not tell the trainings of a month.
_CATCH_UP = timedelta(days=1)
_REMEMBERED = 100
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def next_limit(page: Sequence[Job], limit: int, *, now: datetime) -> int | None:
    """Return how long a list to ask for instead, or None if this one holds whatever can have ended lately.

    :param page: what came.
    :param limit: how much was asked for.
    :param now: the time.
    """
    if len(page) < limit or limit >= _LARGEST_LIMIT:
        return None
    created = [job.created_at or _BEFORE_ALL for job in page]
    is_newest_first = all(earlier >= later for earlier, later in pairwise(created))
    return None if is_newest_first and created[-1] < now - _LONGEST_TRAINING else limit * _GROWTH


class NewModels:
    """Tells each training of one predictive query once, after it has ended well.

    :param pquery_id: id or name of the query.
    :param since: trainings that ended up to then are old.
    :param told: those that ended later and have been told: when each ended, by its id.
    """

    def __init__(self, pquery_id: str, *, since: datetime, told: Mapping[str, datetime] | None = None) -> None:
        self._pquery_id = pquery_id
        self._since = since
        self._told = dict(told or {})

    @classmethod
    def resume(cls, pquery_id: str, state: Any, *, now: datetime) -> Self:
        """Go on from :meth:`state`, or begin now if there is none that can be read.

        :param state: what was kept, of any content. What ended more than a day ago is old all the same.
        :param now: the time.
        """
        kept = state if isinstance(state, dict) else {}
        since = parse_datetime(kept.get("since")) or now
        told = kept.get("told")
        ends = {job_id: parse_datetime(end) for job_id, end in (told if isinstance(told, dict) else {}).items()}
        return cls(
            pquery_id,
            since=max(since, now - _CATCH_UP),
            told={job_id: end for job_id, end in ends.items() if end is not None},
        )

    def state(self) -> dict[str, Any]:
        """Return what another process needs to go on: JSON primitives only."""
        return {
            "since": self._since.isoformat(),
            "told": {job_id: end.isoformat() for job_id, end in self._told.items()},
        }

    def news(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the trainings of a list that have not been told, in the order of their ends."""
        return sorted((job for job in jobs if self._is_new(job)), key=_end)

    def mark_told(self, job: Job) -> None:
        """Note that a training has been told."""
        self._told[job.id] = _end(job)
        if len(self._told) > _REMEMBERED:
            oldest = min(self._told, key=lambda job_id: self._told[job_id])
            self._since = max(self._since, self._told.pop(oldest))

    def _is_new(self, job: Job) -> bool:
        named = {job.pquery_id, job.tags.get("pquery_id"), job.tags.get("pquery_name")}
        return (
            job.kind is JobKind.TRAINING
            and job.status == JobStatus.DONE
            and self._pquery_id in named
            and _end(job) > self._since
            and job.id not in self._told
        )


def _end(job: Job) -> datetime:
    return job.ended_at or job.created_at or _BEFORE_ALL
