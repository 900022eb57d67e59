"""Jobs that end otherwise than well: too late, by a person's hand in Kumo, or without a trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tests.faults import gates
from tests.faults.cases import CANCELLED, DONE, ONE_JOB, Case, Fault, ends

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.world import World

ONE_TRY: Final = "kumo_faults_one_try"
TIMED_OUT: Final = ends("failed", (CANCELLED,))


class TimedOut(Fault):
    """``timeout`` passes, the job is cancelled, and the task fails."""

    group = "timeout"


class TimedOutBeforeDefer(TimedOut):
    """Nothing may be deferred any more: a trigger that fires at once is lost on Airflow's LocalExecutor."""

    name = "timeout before the task defers"

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_held(count, gates.BEFORE_DEFER, dag_id=ONE_TRY, timeout=1)
        newest = max(run.job.created_at for run in runs)
        world.wait(lambda: time.time() > newest + 1, "the timeout")
        for run in runs:
            run.gates.open()
            yield Case(run, TIMED_OUT, finish=False)


class TimedOutOnWorker(TimedOut):
    name = "timeout while the worker waits itself (deferrable=False)"

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start(count, dag_id=ONE_TRY, timeout=rng.randint(2, 6), deferrable=False)
        yield from (Case(run, TIMED_OUT, finish=False) for run in runs)


class TimedOutWaiting(TimedOut):
    name = "timeout while waiting"

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start(count, dag_id=ONE_TRY, timeout=rng.randint(30, 40))
        yield from (Case(run, TIMED_OUT, finish=False) for run in runs)


class TimedOutResuming(TimedOut):
    """A job that was DONE in time is a success, however late the task comes to look."""

    name = "timeout while resuming with a job that is DONE"

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start(count, dag_id=ONE_TRY, timeout=45, hold=gates.RESUME)
        world.wait_deferred(runs)
        world.finish(runs)
        world.wait_at(runs, gates.RESUME)
        newest = max(run.job.created_at for run in runs)
        world.wait(lambda: time.time() > newest + 45, "the timeout")
        for run in runs:
            run.gates.open()
            yield Case(run, ONE_JOB)


class ExecutionTimedOut(TimedOut):
    """Airflow's own ``execution_timeout``, of 30 seconds."""

    deferrable: bool

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start(count, dag_id="kumo_faults_execution_timeout", deferrable=self.deferrable)
        yield from (Case(run, TIMED_OUT, finish=False) for run in runs)


class ExecutionTimedOutOnWorker(ExecutionTimedOut):
    name = "execution_timeout while the worker waits itself (deferrable=False)"
    deferrable = False


class ExecutionTimedOutWaiting(ExecutionTimedOut):
    name = "execution_timeout while waiting"
    deferrable = True


class DagRunTimedOut(TimedOut):
    """The run's own ``dagrun_timeout``, of 40 seconds: Airflow skips the task, also one that has not begun by then."""

    name = "dagrun_timeout while waiting"

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start(count, dag_id="kumo_faults_dagrun_timeout")
        yield from (Case(run, ends("skipped", (CANCELLED,), ()), finish=False) for run in runs)


class CancelledInKumo(Fault):
    """Not tried again: whoever cancelled it meant it."""

    name = "job cancelled by a person in Kumo"
    group = "job"

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        choice = rng.choice(["fail", "skip"])
        for run in world.start_deferred(count, if_cancelled=choice):
            world.kumo.cancel(run.job.id)
            yield Case(run, ends({"fail": "failed", "skip": "skipped"}[choice], (CANCELLED,)), finish=False)


class Vanished(Fault):
    """Kumo answers 404 for a job that was there; after a minute the task is tried again."""

    name = "job vanished"
    group = "job"
    seconds = 200.0

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        for run in world.start_deferred(count):
            world.kumo.vanish(run.job.id)
            # The local Kumo ends what it lets vanish as CANCELLED.
            yield Case(run, ends("success", (CANCELLED, DONE)))


FAULTS: Final = (
    TimedOutBeforeDefer,
    TimedOutOnWorker,
    TimedOutWaiting,
    TimedOutResuming,
    ExecutionTimedOutOnWorker,
    ExecutionTimedOutWaiting,
    DagRunTimedOut,
    CancelledInKumo,
    Vanished,
)
