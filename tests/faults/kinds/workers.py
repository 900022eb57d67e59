"""The worker's process dies: SIGKILL, SIGTERM, and a second process for the same task instance."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tests.faults import gates, racer
from tests.faults.cases import CANCELLED, DONE, ONE_JOB, Case, Fault, ends

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.cases import Expectation
    from tests.faults.world import World

POST: Final = r"/v1/training_jobs$"
# Its supervisor reports every process that was killed as failed, whatever retries there are (mended in 3.1).
NO_RETRY: Final = {(3, 0): "Airflow 3.0 does not try a killed task again"}


class KilledAtGate(Fault):
    """SIGKILL for the task's process while it stands at a gate; Airflow tries again."""

    group = "worker"
    beyond = NO_RETRY
    gate: str
    deferrable = True

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_held(count, self.gate, deferrable=self.deferrable)
        for run in rng.sample(runs, count):
            run.kill(self.gate)
            yield Case(run, ONE_JOB)


class KilledBeforePost(KilledAtGate):
    name = "kill -9 of the worker's task before the POST"
    gate = gates.BEFORE_POST


class KilledBeforeDefer(KilledAtGate):
    name = "kill -9 of the worker's task after the answer, before it defers"
    gate = gates.BEFORE_DEFER


class KilledWhilePolling(KilledAtGate):
    name = "kill -9 of the worker's task while it waits itself (deferrable=False)"
    gate = gates.WAITING_HERE
    deferrable = False


class KilledBetweenPostAndAnswer(Fault):
    """Kumo has made the job, and its answer is still on the way."""

    name = "kill -9 of the worker's task between the POST and its answer"
    group = "worker"
    beyond = NO_RETRY
    alone = True

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_held(count, gates.BEFORE_POST)
        world.kumo.inject("trickle", method="POST", path=POST, seconds=3.0, count=count)
        for run in rng.sample(runs, count):
            run.gates.open()
            world.kumo.wait_for(lambda run=run: bool(run.jobs), timeout=30)  # type: ignore[misc]
            run.kill(gates.BEFORE_POST)
            yield Case(run, ONE_JOB)


class KilledDuringResume(Fault):
    """The job is DONE, and the task dies before Airflow has its result."""

    group = "worker"
    beyond = NO_RETRY
    gate: str

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_resuming(count, self.gate)
        for run in rng.sample(runs, count):
            run.kill(self.gate)
            yield Case(run, ONE_JOB)


class KilledBeforeDelivery(KilledDuringResume):
    name = "kill -9 of the worker's task during resume, before Kumo was told of the delivery"
    gate = gates.RESUME


class KilledAfterDelivery(KilledDuringResume):
    name = "kill -9 of the worker's task during resume, after Kumo was told of the delivery"
    gate = gates.DELIVERED


class Terminated(Fault):
    """SIGTERM lets the task cancel its job, and another is started in its place."""

    group = "worker"
    gate: str
    expectation: Expectation

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_held(count, self.gate)
        for run in rng.sample(runs, count):
            process = run.gates.process_at(self.gate)
            if process is not None:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            # Airflow calls on_kill() and lets the task go on: what it does then must start nothing.
            run.gates.open()
            yield Case(run, self.expectation)


class TerminatedBeforePost(Terminated):
    name = "SIGTERM of the worker's task before the POST"
    gate = gates.BEFORE_POST
    expectation = ONE_JOB


class TerminatedBeforeDefer(Terminated):
    name = "SIGTERM of the worker's task after the answer, before it defers"
    gate = gates.BEFORE_DEFER
    expectation = ends("success", (CANCELLED, DONE))


class AnswerLost(Fault):
    """Kumo makes the job, and the connection drops before its answer."""

    name = "answer lost after creation"
    group = "worker"
    alone = True

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_held(count, gates.BEFORE_POST)
        for _ in range(count):
            world.kumo.inject(rng.choice(["drop_after", "cut_json"]), method="POST", path=POST)
        for run in runs:
            run.gates.open()
        world.wait(lambda: all(run.jobs for run in runs), "every job to be made")
        yield from (Case(run, ONE_JOB) for run in runs)


class RacingSubmits(Fault):
    """Two processes of one task instance have both looked and found nothing, and submit at once."""

    name = "two racing submits of one task instance"
    group = "worker"

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start_held(count, gates.BEFORE_POST, race=True)
        world.wait_at(runs, gates.BEFORE_POST, try_number=racer.TRY)
        for run in rng.sample(runs, count):
            run.gates.open()
            # Whoever was first keeps its job; the other's is cancelled.
            yield Case(run, ends("success", (CANCELLED, DONE)))


FAULTS: Final = (
    KilledBeforePost,
    KilledBetweenPostAndAnswer,
    KilledBeforeDefer,
    KilledWhilePolling,
    KilledBeforeDelivery,
    KilledAfterDelivery,
    TerminatedBeforePost,
    TerminatedBeforeDefer,
    AnswerLost,
    RacingSubmits,
)
