"""Watching one job, without a clock or a socket: what is news, and when to look again.

The worker's loop and the trigger's loop differ only in how they send and sleep; everything they decide is here.
"""

from __future__ import annotations

from airflow_provider_kumo.client.jobs import Job, JobStatus, Progress
from airflow_provider_kumo.client.policy import Budgets, next_look

_BUDGETS = Budgets(missing=60.0)


class Watch:
    """Follows one job from look to look.

    :param poll_interval: seconds between two looks, or None to space them by the job's age.
    :param deadline: POSIX time in seconds after which a job that has not ended is given up, or None.
    """

    def __init__(self, *, poll_interval: float | None, deadline: float | None) -> None:
        self._poll_interval = poll_interval
        self._deadline = deadline
        self._last_said: str | None = None

    @staticmethod
    def wants_progress(job: Job) -> bool:
        """Tell whether asking for the job's progress can bring news: only a running job moves."""
        return job.status == JobStatus.RUNNING

    def news(self, job: Job, progress: Progress | None) -> str | None:
        """Return a line for the log if the job has moved since the last look, else None.

        :param progress: how far it has come, if that was asked.
        """
        line = ", ".join(part for part in (_stage(job), progress.describe() if progress else "") if part)
        if line == self._last_said:
            return None
        self._last_said = line
        return f"{job.kind.label.capitalize()} {job.id}: {line}"

    def pause(self, job: Job, *, now: float) -> float | None:
        """Return the seconds until the next look at a job that has not ended, or None if its time is up.

        :param now: POSIX time in seconds.
        """
        if self._deadline is None:
            return next_look(job, now=now, poll_interval=self._poll_interval)
        left = self._deadline - now
        if left <= 0:
            return None
        return min(next_look(job, now=now, poll_interval=self._poll_interval), left)

    def is_over(self, *, now: float) -> bool:
        """Tell whether the time for the job is up.

        :param now: POSIX time in seconds.
        """
        return self._deadline is not None and now >= self._deadline

    def budgets(self, *, now: float) -> Budgets:
        """Return for how long trouble with a look is waited out: not beyond the deadline, at which the job is let go.

        :param now: POSIX time in seconds.
        """
        return _BUDGETS if self._deadline is None else _BUDGETS.within(max(0.0, self._deadline - now))


def _stage(job: Job) -> str:
    if job.stage is None or job.is_terminal:
        return job.status
    return f"{job.status}, {job.stage}" + (f" ({job.stage_detail})" if job.stage_detail else "")
