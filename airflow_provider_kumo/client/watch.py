"""Watching one job, without a clock or a socket: what is news, and when to look again.

The worker's loop and the trigger's loop differ only in how they send and sleep; everything they decide is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_kumo.client.policy import Budgets, is_progress_due, next_look

if TYPE_CHECKING:
    from airflow_provider_kumo.client.jobs import Job, Progress

_BUDGETS = Budgets(missing=60.0)


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
        self._said_stage: str | None = None
        self._said_progress = ""
        self._asked_stage: str | None = None
        self._asked_age = 0.0

    def wants_progress(self, job: Job, *, now: float) -> bool:
        """Tell whether the job's progress is worth a request of its own now; if so, it counts as asked.

        Whether and when the job ends is in the job itself, so this is for the log alone.

        :param now: POSIX time in seconds.
        """
        is_new_stage = job.stage != self._asked_stage
        if not is_progress_due(job, now=now, last_age=None if is_new_stage else self._asked_age):
            return False
        self._asked_stage, self._asked_age = job.stage, job.running_for(now=now)
        return True

    def news(self, job: Job, progress: Progress | None) -> str | None:
        """Return a line for the log if a job that has not ended has moved since the last look, else None.

        How a job has ended is told by whoever ends the task.

        :param progress: how far it has come, if that was asked.
        """
        stage = _stage(job)
        said = progress.describe() if progress else ""
        if job.is_terminal or (stage == self._said_stage and said in ("", self._said_progress)):
            return None
        first = self._said_stage is None
        self._said_stage, self._said_progress = stage, said or self._said_progress
        line = f"{job.kind.label.capitalize()} {job.id}: {', '.join(part for part in (stage, said) if part)}"
        if first and self._taken_over:
            return f"Waiting goes on. {line}." + (f" See {job.tracking_url}" if job.tracking_url else "")
        return line

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
    if job.stage is None:
        return job.status
    return f"{job.status}, {job.stage}" + (f" ({job.stage_detail})" if job.stage_detail else "")
