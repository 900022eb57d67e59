"""What must be true once a fault is over, and what is counted when it is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping

    from tests.faults.world import Run, World

DONE, CANCELLED = "DONE", "CANCELLED"
#: The Airflow that the faults hit, such as (3, 3).
AIRFLOW: Final = tuple(int(part) for part in version("apache-airflow").split(".")[:2])


@dataclass(frozen=True)
class Expectation:
    """How one task instance must end.

    :param state: of the task.
    :param jobs: the ways in which its jobs may have ended, each sorted: one entry for every job that was started.
    :param by_person: a person ended the task, who takes no result.
    """

    state: str
    jobs: tuple[tuple[str, ...], ...]
    by_person: bool = False

    @property
    def delivers(self) -> bool:
        """Whether the task must return its job's result."""
        return self.state == "success" and not self.by_person

    @property
    def most_jobs(self) -> int:
        """How many jobs may have been started."""
        return max(len(jobs) for jobs in self.jobs)


def ends(state: str, *jobs: tuple[str, ...], by_person: bool = False) -> Expectation:
    """Say how a task instance must end; several ``jobs`` are alternatives."""
    return Expectation(state, tuple(tuple(sorted(statuses)) for statuses in jobs), by_person)


#: The task succeeds with the only job that was ever started for it.
ONE_JOB = ends("success", (DONE,))


@dataclass
class Case:
    """One injected fault: the run that it hit, and how that must end."""

    run: Run
    expectation: Expectation
    #: The row of the table, if it is not the fault's name.
    row: str | None = None
    #: Whether a job that is waited for again after the fault is to end well.
    finish: bool = True


@dataclass
class Tally:
    """A row of the table."""

    times: int = 0
    doubles: int = 0
    orphans: int = 0
    losses: int = 0
    wrong: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def spotless(self) -> bool:
        """Whether nothing was counted."""
        return not (self.doubles or self.orphans or self.losses or self.wrong)

    def add(self, case: Case, state: str | None, result: object) -> None:
        """Count what became of a case, from Kumo's own record.

        :param state: the final state of the task.
        :param result: what it returned.
        """
        jobs = case.run.jobs
        statuses = tuple(sorted(job.status for job in jobs))
        live = len(case.run.live_jobs)
        double = max(0, len(jobs) - case.expectation.most_jobs)
        done = [job.id for job in jobs if job.status == DONE]
        delivered = isinstance(result, dict) and result.get("job_id") in done
        lost = case.expectation.delivers and (state == "success" or bool(done)) and not delivered
        wrong = state != case.expectation.state or (
            statuses not in case.expectation.jobs and not live and not double and not lost
        )
        self.times += 1
        self.doubles += double
        self.orphans += live
        self.losses += lost
        self.wrong += wrong
        if double or live or lost or wrong:
            ids = ", ".join(f"{job.id} {job.status}" for job in jobs) or "no job"
            wanted = " or ".join(map(str, case.expectation.jobs))
            self.problems.append(
                f"{case.run.dag_id} {case.run.run_id}: task {state}, jobs {ids}, "
                f"result {'there' if result else 'absent'}; wanted {case.expectation.state}, jobs {wanted}"
            )


class Fault:
    """Something that goes wrong, at one moment of a task's life.

    :cvar name: its row of the table.
    :cvar group: what it is a kind of, for choosing some on the command line.
    :cvar triggerers: in which of the two worlds it strikes. Faults that need no second triggerer may strike there
        too, so that both worlds are busy for about as long.
    :cvar needs_postgres: whether SQLite will not do.
    :cvar alone: whether it strikes everything that runs in its world, so that nothing else may.
    :cvar batch: how many tasks it hits at a time, at most.
    :cvar seconds: until when all is settled after it.
    :cvar window: whether it is one that no provider can close: measured, and not held against anybody.
    :cvar rows: in how many rows its cases are counted, each as often as was asked for.
    :cvar beyond: why no provider gets through it, by the release of Airflow where that is so, such as (3, 0).
    """

    name: ClassVar[str]
    group: ClassVar[str]
    triggerers: ClassVar[int] = 1
    needs_postgres: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    batch: ClassVar[int] = 5
    seconds: ClassVar[float] = 150.0
    rows: ClassVar[int] = 1
    window: ClassVar[bool] = False
    beyond: ClassVar[Mapping[tuple[int, ...], str]] = {}

    def strike(self, world: World, count: int, rng: random.Random) -> Iterable[Case]:
        """Bring tasks to the moment, let it happen, and say how each must end.

        :param count: how many tasks.
        :param rng: seeded.
        """
        raise NotImplementedError
