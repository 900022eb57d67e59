"""Airflow's own parts, and its database, go away and come back."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

from tests.faults import gates
from tests.faults.cases import ONE_JOB, Case, Fault

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from tests.faults.world import Run, World


class WhileWaiting(Fault):
    """Something happens to a component while tasks are deferred; afterwards all are waited for as before."""

    group = "component"
    alone = True
    batch = 10

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_deferred(count)
        self.befall(world, rng, runs)
        again = time.time()
        # A trigger looks at its job again: it was taken up by a triggerer that lives.
        world.wait_looked([run for run in runs if run.live_jobs], since=again, seconds=90)
        yield from (Case(run, ONE_JOB) for run in runs)

    def befall(self, world: World, rng: random.Random, runs: Sequence[Run]) -> None:
        """Let it happen, and end."""
        raise NotImplementedError


class TriggererStopped(WhileWaiting):
    """The only triggerer, and it comes back."""

    grace: float

    def befall(self, world: World, rng: random.Random, runs: Sequence[Run]) -> None:
        world.airflow.take_down("triggerer", grace=self.grace)
        world.airflow.start_component("triggerer")


class TriggererKilled(TriggererStopped):
    name = "kill -9 of the only triggerer while waiting"
    grace = 0.0


class TriggererTerminated(TriggererStopped):
    name = "SIGTERM of the only triggerer while waiting"
    grace = 20.0


class OneOfTwoStopped(WhileWaiting):
    """The other triggerer takes over; the stopped one comes back when it has."""

    triggerers = 2
    needs_postgres = True
    grace: float

    def befall(self, world: World, rng: random.Random, runs: Sequence[Run]) -> None:
        victim = rng.choice(world.airflow.triggerers)
        world.airflow.take_down(victim, grace=self.grace)
        world.wait_looked(runs, since=time.time(), seconds=90)
        world.airflow.start_component(victim)


class OneOfTwoKilled(OneOfTwoStopped):
    name = "kill -9 of one of two triggerers while waiting"
    grace = 0.0


class OneOfTwoTerminated(OneOfTwoStopped):
    name = "SIGTERM of one of two triggerers while waiting"
    grace = 20.0


class OneOfTwoFrozen(WhileWaiting):
    """A triggerer stands still until its triggers were given to the other, then goes on as if it still had them."""

    name = "one of two triggerers frozen until its triggers were reassigned"
    triggerers = 2
    needs_postgres = True

    def befall(self, world: World, rng: random.Random, runs: Sequence[Run]) -> None:
        victim = rng.choice(world.airflow.triggerers)
        group = os.getpgid(world.airflow.main_process(victim))
        os.killpg(group, signal.SIGSTOP)
        try:
            world.wait_looked(runs, since=time.time(), seconds=90)
        finally:
            os.killpg(group, signal.SIGCONT)


class FinishedWhileNobodyWaited(WhileWaiting):
    name = "job finished while nobody waited"

    def befall(self, world: World, rng: random.Random, runs: Sequence[Run]) -> None:
        world.airflow.take_down("triggerer", grace=rng.choice([0.0, 20.0]))
        world.finish(runs)
        world.airflow.start_component("triggerer")


class SchedulerRestarted(WhileWaiting):
    name = "restart of the scheduler while waiting"
    triggerers = 2
    grace = 20.0

    def befall(self, world: World, rng: random.Random, runs: Sequence[Run]) -> None:
        world.airflow.take_down("scheduler", grace=self.grace)
        if rng.random() < 0.5:
            world.finish(runs)
        world.airflow.start_component("scheduler")


class SchedulerKilledWithWorkers(Fault):
    """With the LocalExecutor the workers die with their scheduler, as when a machine loses power."""

    name = "kill -9 of the scheduler and its workers before they defer"
    group = "component"
    triggerers = 2
    alone = True

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_held(count, gates.BEFORE_DEFER)
        world.airflow.take_down("scheduler", grace=0.0)
        world.airflow.start_component("scheduler")
        yield from (Case(run, ONE_JOB) for run in runs)


class DatabaseRestarted(WhileWaiting):
    name = "restart of the database while waiting"
    triggerers = 2
    needs_postgres = True

    def befall(self, world: World, rng: random.Random, runs: Sequence[Run]) -> None:
        if world.postgres is None:
            raise TypeError("This world has no PostgreSQL")
        world.postgres.stop()
        if rng.random() < 0.5:
            world.finish(runs)
        # How long it is away is the fault itself.
        time.sleep(rng.uniform(0.0, 5.0))
        world.postgres.start()


FAULTS: Final = (
    TriggererKilled,
    TriggererTerminated,
    OneOfTwoKilled,
    OneOfTwoTerminated,
    OneOfTwoFrozen,
    FinishedWhileNobodyWaited,
    SchedulerRestarted,
    SchedulerKilledWithWorkers,
    DatabaseRestarted,
)
