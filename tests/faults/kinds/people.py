"""A person clears a task, or marks it, in each phase of its life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.faults import gates
from tests.faults.cases import CANCELLED, DONE, ONE_JOB, Case, Fault, ends

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from tests.faults.cases import Expectation
    from tests.faults.world import Run, World

PHASES: Final = {
    "before the POST": gates.BEFORE_POST,
    "before it defers": gates.BEFORE_DEFER,
    "waiting": None,
    "while the worker waits itself (deferrable=False)": gates.WAITING_HERE,
    "resuming": gates.RESUME,
}
ACTS: Final = ("Clear", "mark failed", "mark success")
# https://github.com/apache/airflow/issues/55045, mended in 3.1.
STAYS_RESTARTING: Final = {(3, 0): "in Airflow 3.0 a task that is cleared while it runs stays in the state restarting"}


class PersonActs(Fault):
    """One act in one phase."""

    group = "person"
    act: str
    phase: str

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        for run in rng.sample(self._bring(world, count), count):
            if self.act == "Clear":
                run.clear()
            else:
                run.mark(self.act.removeprefix("mark "))
            yield Case(run, self._expectation)

    def _bring(self, world: World, count: int) -> Sequence[Run]:
        gate = PHASES[self.phase]
        if gate is None:
            return world.start_deferred(count)
        if gate == gates.RESUME:
            return world.start_resuming(count, gate)
        if gate == gates.WAITING_HERE:
            return world.start_held(count, gate, deferrable=False)
        return world.start_held(count, gate)

    @property
    def _expectation(self) -> Expectation:
        if self.act == "Clear":
            # A result that was not delivered when the task was cleared is adopted.
            return {
                "before the POST": ONE_JOB,
                "before it defers": ends("success", (CANCELLED, DONE)),
                "waiting": ends("success", (CANCELLED, DONE)),
                "while the worker waits itself (deferrable=False)": ends("success", (CANCELLED, DONE)),
                "resuming": ONE_JOB,
            }[self.phase]
        state = {"mark failed": "failed", "mark success": "success"}[self.act]
        return {
            "before the POST": ends(state, (), by_person=True),
            "before it defers": ends(state, (CANCELLED,), by_person=True),
            "waiting": ends(state, (CANCELLED,), by_person=True),
            "while the worker waits itself (deferrable=False)": ends(state, (CANCELLED,), by_person=True),
            "resuming": ends(state, (DONE,), by_person=True),
        }[self.phase]


class MarkedAtOnce(Fault):
    """A person marks the task failed before the triggerer has started its trigger: nothing of ours ever hears of it."""

    name = "mark failed at once after the task deferred"
    group = "window"
    window = True

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        runs = world.start(count)
        left = set(runs)

        def mark() -> bool:
            for run, task in zip(runs, world.tasks(runs), strict=True):
                if run in left and task["state"] == "deferred":
                    run.mark("failed")
                    left.discard(run)
            return not left

        world.wait(mark, "every task to be deferred")
        yield from (Case(run, ends("failed", (CANCELLED,), by_person=True)) for run in runs)


def _kind(act: str, phase: str) -> type[PersonActs]:
    name = "".join(word.capitalize() for word in f"{act} {phase}".split())
    beyond = STAYS_RESTARTING if act == "Clear" and phase != "waiting" else {}
    about = {"name": f"{act}, {phase}", "act": act, "phase": phase, "beyond": beyond, "__doc__": f"{act}."}
    return type(name, (PersonActs,), about)


FAULTS: Final = (*(_kind(act, phase) for act in ACTS for phase in PHASES), MarkedAtOnce)
