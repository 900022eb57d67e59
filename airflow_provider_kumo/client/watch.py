"""Watching one job, without a clock or a socket: what is news, and when to look again.

The worker's loop and the trigger's loop differ only in how they send and sleep; everything they decide is here.
"""

from __future__ import annotations

from airflow_provider_kumo.client.jobs import Job, JobStatus, Progress
from airflow_provider_kumo.client.policy import next_look


class Watch:
    """Follows one job from look to look.

    :param poll_interval: seconds between two looks, or None to space them by the job's age.
    :param deadline: POSIX time in seconds after which a job that has not ended is given up, or None.
    :param taken_over: whether another process may have watched the job before: the first line then says so, since it
        may be one that is in the log already.
    """

    def __init__(self, *, poll_interval: float | None, deadline: float | None, taken_over: bool = False) -> None:
        self._poll_interval = poll_interval
        self._deadline = deadline
        self._taken_over = taken_over
        self._last_stage: str | None = None
        self._last_line: str | None = None

    @staticmethod
    def wants_progress(job: Job) -> bool:
        """Tell whether asking for the job's progress can bring news: only a running job moves."""
        return job.status == JobStatus.RUNNING

    def news(self, job: Job, progress: Progress | None) -> str | None:
        """Return a line for the log if a job that has not ended has moved since the last look, else None.

        How a job has ended is told by whoever ends the task.

        :param progress: how far it has come, if that is known: without it only another stage is news.
        """
        stage = _stage(job)
        line = ", ".join(part for part in (stage, progress.describe() if progress else "") if part)
        if job.is_terminal or line == self._last_line or (progress is None and stage == self._last_stage):
            return None
        first = self._last_line is None
        self._last_stage, self._last_line = stage, line
        name = f"{job.kind.label.capitalize()} {job.id}"
        if first and self._taken_over:
            return f"Waiting goes on. {name}: {line}." + (f" See {job.tracking_url}" if job.tracking_url else "")
        return f"{name}: {line}"

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


def _stage(job: Job) -> str:
    if job.stage is None:
        return job.status
    return f"{job.status}, {job.stage}" + (f" ({job.stage_detail})" if job.stage_detail else "")
