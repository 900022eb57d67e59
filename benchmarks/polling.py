"""What a spacing of polls costs and how late it notices, by simulation: pure, seeded, no clock and no socket.

``python -m benchmarks.polling`` prints the table. Our own rows run the code that the trigger runs
(:func:`~airflow_provider_kumo.client.policy.first_look` and :class:`~airflow_provider_kumo.client.watch.Watch`), with
every request counted, the ones for progress too. To try a policy, write a function that makes a :class:`Looker` and add
it to :data:`POLICIES`.

The jobs: one half are batch predictions of 3 to 40 minutes, the other half trainings of 1 to 10 hours, each lognormal
about the middle of its range on a logarithmic scale, with the range at 2.5 standard deviations and cut there. A
training spends 20 % of its time before the stage whose progress Kumo can tell, a prediction 22 % before and 15 % after.
What Kumo estimates of the time that is left is "generally an upper bound": here up to 30 % too long.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import TYPE_CHECKING, Protocol

from airflow_provider_kumo.client.jobs import Job, JobKind, JobStatus, Progress
from airflow_provider_kumo.client.policy import first_look
from airflow_provider_kumo.client.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = {JobKind.PREDICTION: (3 * 60.0, 40 * 60.0), JobKind.TRAINING: (3600.0, 10 * 3600.0)}
_DEVIATIONS = 2.5
_STAGES = {
    JobKind.PREDICTION: (
        (0.00, "Data Ingestion"),
        (0.10, "Generate Prediction Table"),
        (0.22, "Predicting"),
        (0.85, "Exporting"),
    ),
    JobKind.TRAINING: ((0.00, "Data Ingestion"), (0.08, "Generate Training Table"), (0.20, "Training")),
}
_BORN = datetime(2026, 1, 1, tzinfo=UTC)
_ESTIMATES_TOO_LONG = 0.3


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A job that will end.

    :param length: seconds from its start to its end.
    :param exaggeration: by which factor Kumo overestimates it.
    """

    kind: JobKind
    length: float
    exaggeration: float

    def at(self, age: float) -> Job:
        """Return it as a look at an age sees it."""
        stage = [name for share, name in _STAGES[self.kind] if share * self.length <= age][-1]
        return Job(
            id="job",
            kind=self.kind,
            status=JobStatus.DONE if age >= self.length else JobStatus.RUNNING,
            created_at=_BORN,
            started_at=_BORN,
            stage=stage,
        )

    def progress_at(self, age: float) -> Progress:
        """Return what Kumo tells of its progress at an age."""
        begin = next(share for share, name in _STAGES[self.kind] if name in ("Training", "Predicting")) * self.length
        if age < begin:
            return Progress(kind=self.kind)
        return Progress(kind=self.kind, elapsed=age - begin, estimated=(self.length - begin) * self.exaggeration)


class Looker(Protocol):
    """What looks at one job: when first, and after each look when next. It counts its requests beside the look."""

    extra_requests: int

    def first(self) -> float:
        """Return the seconds from the job's start to the first look."""
        ...

    def next(self, job: Simulated, age: float) -> float:
        """Return the seconds until the next look at a job that has not ended."""
        ...


class OurLooker:
    """The provider's own policy.

    :param poll_interval: a fixed spacing in seconds, or None.
    """

    def __init__(self, kind: JobKind, *, poll_interval: float | None = None) -> None:
        self.extra_requests = 0
        self._kind = kind
        self._poll_interval = poll_interval
        self._watch = Watch(poll_interval=poll_interval, deadline=None)

    def first(self) -> float:
        return first_look(self._kind, poll_interval=self._poll_interval)

    def next(self, job: Simulated, age: float) -> float:
        seen, now = job.at(age), (_BORN + timedelta(seconds=age)).timestamp()
        self.extra_requests += self._watch.wants_progress(seen, now=now)
        pause = self._watch.pause(seen, now=now)
        assert pause is not None
        return pause


class FixedLooker:
    """A spacing that never changes, with the first look at once, as most providers have it."""

    def __init__(self, spacing: float) -> None:
        self.extra_requests = 0
        self._spacing = spacing

    def first(self) -> float:
        # Where a job stands when its trigger starts is chance: its submission took a while.
        return random.uniform(0, self._spacing)

    def next(self, job: Simulated, age: float) -> float:
        return self._spacing


class EstimateLooker:
    """Our spacing until Kumo gives an estimate; then a third of the time that is left, within the same bounds.

    Each look that follows the estimate costs a second request, because only progress holds it.

    :param longest: seconds between two looks at most, by kind; what a job that fails early is noticed late by.
    """

    def __init__(self, kind: JobKind, *, longest: dict[JobKind, float]) -> None:
        self.extra_requests = 0
        self._ours = OurLooker(kind)
        self._shortest = {JobKind.PREDICTION: 15.0, JobKind.TRAINING: 60.0}[kind]
        self._longest = longest[kind]

    def first(self) -> float:
        return self._ours.first()

    def next(self, job: Simulated, age: float) -> float:
        self.extra_requests += 1
        left = job.progress_at(age).seconds_left
        if left is None:
            return self._ours.next(job, age)
        return min(max(left / 3, self._shortest), self._longest)


OURS = "ours, the default"
POLICIES: dict[str, Callable[[JobKind], Looker]] = {
    OURS: OurLooker,
    "ours, with Kumo's estimate, within the same bounds": lambda kind: EstimateLooker(
        kind, longest={JobKind.PREDICTION: 60.0, JobKind.TRAINING: 180.0}
    ),
    "ours, with Kumo's estimate, up to a tenth of the range": lambda kind: EstimateLooker(
        kind, longest={JobKind.PREDICTION: 240.0, JobKind.TRAINING: 3600.0}
    ),
    "ours, poll_interval=10": lambda kind: OurLooker(kind, poll_interval=10.0),
    "fixed 60 s (dbt-cloud's default)": lambda kind: FixedLooker(60.0),
    "fixed 30 s (databricks' default)": lambda kind: FixedLooker(30.0),
    "fixed 10 s": lambda kind: FixedLooker(10.0),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a policy comes to.

    :param requests: a job.
    :param late: share of a job's length that its end is noticed late by, on average.
    :param late_p95: the same, 95th percentile.
    :param late_seconds: seconds late on average, by kind.
    :param failed_late_seconds: the same for jobs that fail at a random moment of their time.
    """

    requests: float
    late: float
    late_p95: float
    late_seconds: dict[JobKind, float]
    failed_late_seconds: dict[JobKind, float]


def simulate(make: Callable[[JobKind], Looker], *, jobs: int, seed: int) -> Outcome:
    """Let a policy wait for so many jobs.

    :param make: makes what looks at a job of a kind.
    :param jobs: how many; half of each kind.
    :param seed: of the lengths and of the policy's jitter.
    """
    lengths = random.Random(seed)
    # The policies draw their jitter from the module's generator.
    random.seed(seed)
    requests, shares = [], []
    late: dict[JobKind, list[float]] = {kind: [] for kind in JobKind}
    failed: dict[JobKind, list[float]] = {kind: [] for kind in JobKind}
    for number in range(jobs):
        kind = list(JobKind)[number % 2]
        job = Simulated(
            kind=kind,
            length=_length(lengths, kind),
            exaggeration=1 + lengths.random() * _ESTIMATES_TOO_LONG,
        )
        fails_at = lengths.random() * job.length
        looker = make(kind)
        count, age, noticed_failure = 1, looker.first(), None
        while age < job.length:
            if noticed_failure is None and age >= fails_at:
                noticed_failure = age
            age += looker.next(job, age)
            count += 1
        requests.append(count + looker.extra_requests)
        late[kind].append(age - job.length)
        shares.append((age - job.length) / job.length)
        failed[kind].append((age if noticed_failure is None else noticed_failure) - fails_at)
    shares.sort()
    return Outcome(
        requests=fmean(requests),
        late=fmean(shares),
        late_p95=shares[math.ceil(0.95 * jobs) - 1],
        late_seconds={kind: fmean(seconds) for kind, seconds in late.items()},
        failed_late_seconds={kind: fmean(seconds) for kind, seconds in failed.items()},
    )


def _length(chance: random.Random, kind: JobKind) -> float:
    shortest, longest = (math.log(bound) for bound in LENGTHS[kind])
    while True:
        drawn = chance.gauss((shortest + longest) / 2, (longest - shortest) / 2 / _DEVIATIONS)
        if shortest <= drawn <= longest:
            return math.exp(drawn)


HEADINGS = (
    "policy",
    "requests a job",
    "late, mean",
    "late, p95",
    "prediction late by",
    "training late by",
    "failed ones",
)


def rows(*, jobs: int = 4000, seed: int = 1) -> list[tuple[str, ...]]:
    """Return the table of all policies as text."""
    return [(name, *cells(simulate(make, jobs=jobs, seed=seed))) for name, make in POLICIES.items()]


def cells(outcome: Outcome) -> tuple[str, ...]:
    """Return one row of the table, without the name."""
    failed = outcome.failed_late_seconds
    return (
        f"{outcome.requests:.0f}",
        f"{outcome.late:.1%}",
        f"{outcome.late_p95:.1%}",
        f"{outcome.late_seconds[JobKind.PREDICTION]:.0f} s",
        f"{outcome.late_seconds[JobKind.TRAINING]:.0f} s",
        f"{failed[JobKind.PREDICTION]:.0f} s / {failed[JobKind.TRAINING]:.0f} s",
    )


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description="Simulate how often a policy asks and how late it notices.")
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    table = Table(title=f"{options.jobs} simulated jobs, seed {options.seed}")
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number == 0 else "right")
    for row in rows(jobs=options.jobs, seed=options.seed):
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
