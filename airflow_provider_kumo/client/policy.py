"""Pure decisions about time: how long to wait out an error, and when to look at a job again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from airflow_provider_kumo.client.errors import KumoAnswerError, KumoError, Patience
from airflow_provider_kumo.client.jobs import Job, JobKind, JobStatus

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
# A server may ask for hours; the budgets below still decide when to give up.
_LONGEST_RETRY_AFTER = 300.0

# Checked by `python -m benchmarks.polling`. A training runs for an hour or more, so looking often in its first minutes
# would only find those that fail at once.
_POLL_SHARE_OF_AGE = {JobKind.TRAINING: 0.25, JobKind.PREDICTION: 0.05}
_POLL_BOUNDS = {JobKind.TRAINING: (60.0, 180.0), JobKind.PREDICTION: (15.0, 60.0)}
_POLL_JITTER = 0.10
_PROGRESS_GROWTH = 2.5
_PROGRESS_PAUSE = 3600.0


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """For how many seconds each kind of trouble is waited out before it becomes an error.

    :param service: Kumo unreachable, failing, throttling or unreadable.
    :param refused_key: the key is refused; a rotated key arrives in the connection a little later.
    :param missing: a job is not there, right after it was created or seen.
    """

    service: float = 30 * 60.0
    refused_key: float = 15 * 60.0
    missing: float = 0.0

    def within(self, seconds: float) -> Budgets:
        """Return the same budgets, none of them longer than so many seconds."""
        return Budgets(
            service=min(self.service, seconds),
            refused_key=min(self.refused_key, seconds),
            missing=min(self.missing, seconds),
        )

    def of(self, patience: Patience) -> float:
        """Return the seconds that belong to a kind of patience (0: none)."""
        return {
            Patience.NONE: 0.0,
            Patience.SERVICE: self.service,
            Patience.REFUSED_KEY: self.refused_key,
            Patience.MISSING: self.missing,
        }[patience]


ONE_TRY = Budgets(service=0.0, refused_key=0.0, missing=0.0)


class Weather:
    """Decides, error by error, whether one request is repeated and after what pause.

    Holds no clock and does no I/O: the caller brings the time and does the waiting.

    :param budgets: how long each kind of trouble is waited out.
    :param safe_to_repeat: False for a request that must not be sent twice (creating a job): then only errors
        after which the request was certainly not acted on are waited out.
    """

    def __init__(self, budgets: Budgets, *, safe_to_repeat: bool) -> None:
        self._budgets = budgets
        self._safe_to_repeat = safe_to_repeat
        self._tries = 0
        self._since: dict[Patience, float] = {}

    def pause_after(self, error: KumoError, *, now: float) -> float | None:
        """Return the seconds until the next try, or None if the error must be raised.

        :param error: what the last try ended with.
        :param now: seconds of a monotonic clock.
        """
        if not self._safe_to_repeat and isinstance(error, KumoAnswerError) and error.reached:
            return None
        budget = self._budgets.of(error.patience)
        since = self._since.setdefault(error.patience, now)
        left = since + budget - now
        if left <= 0:
            return None
        self._tries += 1
        asked = getattr(error, "retry_after", None)
        seconds = full_jitter(self._tries) if asked is None else min(asked, _LONGEST_RETRY_AFTER)
        return min(seconds, left)


def full_jitter(tries: int) -> float:
    """Return a random pause in seconds that grows with the number of failed tries, at most a minute.

    Full jitter keeps a thousand triggers from coming back in step after an outage.
    """
    ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tries - 1, 16))
    return random.uniform(ceiling / 10, ceiling)  # noqa: S311


def first_look(kind: JobKind, *, poll_interval: float | None) -> float:
    """Return the seconds until a trigger first looks at its job.

    Spread, so that the triggers of a restarted triggerer do not all ask at once; and never at once, because Airflow
    3.3's LocalExecutor fails a task whose trigger fires before its worker process is seen to have ended.

    :param poll_interval: a fixed spacing in seconds, or None.
    """
    spacing = _POLL_BOUNDS[kind][0] if poll_interval is None else poll_interval
    return spacing * random.uniform(0.5, 1.0)  # noqa: S311


def next_look(job: Job, *, now: float, poll_interval: float | None) -> float:
    """Return the seconds until a live job is worth looking at again.

    Without a fixed interval the spacing grows with the job's age, so that a job is noticed late by a share of its
    own length: 5 % of the age within 15 to 60 s for predictions, 25 % within 60 to 180 s for trainings.

    :param job: the job as last seen.
    :param now: POSIX time in seconds.
    :param poll_interval: a fixed spacing in seconds, or None.
    """
    if poll_interval is None:
        shortest, longest = _POLL_BOUNDS[job.kind]
        spacing = min(max(job.running_for(now=now) * _POLL_SHARE_OF_AGE[job.kind], shortest), longest)
    else:
        spacing = poll_interval
    return spacing * random.uniform(1 - _POLL_JITTER, 1 + _POLL_JITTER)  # noqa: S311


def is_progress_due(job: Job, *, now: float, last_age: float | None) -> bool:
    """Tell whether a job's progress, which is a second request, is worth asking for.

    Only a running job moves. It is asked in each stage, then each time its age has grown two and a half times, and at
    least every hour: some fifteen times in a training of ten hours, instead of two hundred times.

    :param job: the job as just seen.
    :param now: POSIX time in seconds.
    :param last_age: seconds that the job had run when it was last asked in this stage, or None.
    """
    if job.status != JobStatus.RUNNING:
        return False
    return last_age is None or job.running_for(now=now) > min(last_age * _PROGRESS_GROWTH, last_age + _PROGRESS_PAUSE)
