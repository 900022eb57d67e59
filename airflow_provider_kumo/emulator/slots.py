"""Who runs and who waits: ten jobs in parallel, fifteen more in the queue."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kumo.emulator.lifecycle import end_at, ready_at

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.records import JobRecord

#: Jobs Kumo runs at a time, and jobs that may wait beside them.
PARALLEL = 10
QUEUED = 15


class Slots:
    """Give run slots to jobs, in the order of their creation.

    Nobody needs to be watching when a job ends: :meth:`settle` finds out afterwards and starts
    the next one at the instant at which the slot became free.
    """

    def __init__(self, *, parallel: int = PARALLEL, queued: int = QUEUED) -> None:
        self.parallel = parallel
        self.queued = queued
        self._running: dict[str, JobRecord] = {}
        self._waiting: dict[str, JobRecord] = {}
        self._next_end = inf

    def admits(self, now: float) -> bool:
        """Tell whether there is room for one more job.

        :param now: wall-clock time.
        :returns: false if a new job must be refused.
        """
        self.settle(now)
        return len(self._running) + len(self._waiting) < self.parallel + self.queued

    def add(self, record: JobRecord) -> None:
        """Take in a job: to its slot, or to the end of the queue. :meth:`settle` does the rest.

        :param record: the job.
        """
        if record.started_at is not None:
            self._running[record.id] = record
        else:
            self._waiting[record.id] = record
        self.recheck()

    def recheck(self) -> None:
        """Forget what is known about ends: a job has been changed."""
        self._next_end = -inf

    def settle(self, now: float) -> None:
        """Free the slots of jobs that have ended, and start those that waited for them.

        :param now: wall-clock time.
        """
        if now < self._next_end:
            return
        self._drop_ended_waiters(now)
        self._fill(now)
        while self._running:
            first = min(self._running.values(), key=end_at)
            freed_at = end_at(first)
            if freed_at > now:
                break
            del self._running[first.id]
            self._fill(freed_at)
        ends = [end_at(job) for job in (*self._running.values(), *self._waiting.values())]
        self._next_end = min(ends, default=inf)

    def _drop_ended_waiters(self, now: float) -> None:
        """A cancelled or failed job leaves the queue without ever having had a slot."""
        for record in [job for job in self._waiting.values() if end_at(job) <= now]:
            del self._waiting[record.id]

    def _fill(self, at: float) -> None:
        while self._waiting and len(self._running) < self.parallel:
            record = self._waiting.pop(next(iter(self._waiting)))
            record.started_at = max(ready_at(record), at)
            record.revision += 1
            self._running[record.id] = record
