"""Injects the faults, waits until everything has settled, and counts."""

from __future__ import annotations

import random
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dev.airflow_api import AirflowError
from tests.faults.cases import Case, Tally
from tests.faults.world import ENDED_TASK, TASK, NotThereError, Stopped, World, process_lives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.faults.cases import Fault

# A machine that stands still for a minute has Airflow take its tasks for dead before any fault has struck.
_APPROACHES = 3
# A trigger that fires before its worker is seen to have ended fails the task, in Airflow's LocalExecutor.
_SETTLED_DEFERRAL = 3.0
# The cancelling of a task that a person ended takes a heartbeat, a SIGTERM and a turn of the triggerer.
_ORPHANS_GET = 30.0
# The local Kumo takes 25 live jobs, and every task may have two for a moment. Beyond that, a machine that cannot keep
# up shows Airflow's own races: an executor that reports the end of a try when the next one runs fails the task.
_TASKS_AT_A_TIME = 12


@dataclass
class Campaign:
    """Every fault so many times.

    :param faults: which.
    :param times: how often each.
    :param seed: of everything that is drawn.
    :param postgres: PostgreSQL for all of them; else SQLite, for those that can do with it.
    :param say: told what is going on.
    :param counted: told how many cases have just been judged.
    :param said: told what became of a fault.
    """

    faults: Sequence[type[Fault]]
    times: int
    seed: int
    postgres: bool = True
    say: Callable[[str], object] = print
    counted: Callable[[int], object] = print
    said: Callable[[str], object] = print
    rows: dict[str, Tally] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    _rows_lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> dict[str, Tally]:
        """Inject everything, the two worlds side by side, and return the table's rows."""
        worlds = {1: self.faults}
        if self.postgres:
            worlds = {count: [fault for fault in self.faults if fault.triggerers == count] for count in (1, 2)}
        with ThreadPoolExecutor(max_workers=2) as pool:
            running = [
                pool.submit(self._in_world, triggerers, chosen) for triggerers, chosen in worlds.items() if chosen
            ]
            try:
                for each in running:
                    each.result()
            finally:
                self.stop.set()
        return self.rows

    def _in_world(self, triggerers: int, faults: Sequence[type[Fault]]) -> None:
        self.say("starting Airflow")
        with World(seed=self.seed, postgres=self.postgres, triggerers=triggerers, stop=self.stop) as world:
            together = [fault() for fault in faults if not fault.alone]
            batch = min(self.times, min((fault.batch for fault in together), default=1))
            # SQLite locks when many tasks end at once.
            side_by_side = max(1, _TASKS_AT_A_TIME // batch) if self.postgres else 1
            with ThreadPoolExecutor(max_workers=side_by_side) as pool:
                for done in [pool.submit(self._inject, world, fault) for fault in together]:
                    done.result()
            for fault in faults:
                if fault.alone:
                    self._inject(world, fault())

    def _inject(self, world: World, fault: Fault) -> None:
        rng = random.Random(f"{self.seed}/{fault.name}")
        left = self.times
        while left > 0:
            count = min(left, fault.batch)
            left -= count
            self.say(fault.name)
            try:
                for approach in range(1, _APPROACHES + 1):
                    if self._inject_into(world, fault, count, rng, last=approach == _APPROACHES):
                        break
            except Stopped:
                return

    def _inject_into(self, world: World, fault: Fault, count: int, rng: random.Random, *, last: bool) -> bool:
        """Inject a fault into so many tasks at a time; False if none of them came to where it strikes."""
        began = time.monotonic()
        cases: list[Case] = []
        try:
            cases.extend(fault.strike(world, count, rng))
            tasks = self._settle(world, cases, fault.seconds)
            self._count(fault, cases, tasks, time.monotonic() - began)
            world.clean_up()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - the other faults still tell something
            again = isinstance(error, NotThereError) and not cases and not last
            if again:
                self.said(f"{fault.name}: not injected, and tried again: {error}")
            else:
                self._note_failure(fault, count, f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
            with suppress(AirflowError):
                world.clean_up()
            return not again
        return True

    @staticmethod
    def _settle(world: World, cases: Sequence[Case], seconds: float) -> list[dict[str, object]]:
        """Wait until every task and every job has ended; jobs that are waited for are made to end well."""
        deadline = time.monotonic() + seconds
        ended_since: float | None = None
        while True:
            try:
                tasks = world.tasks([case.run for case in cases])
            except AirflowError:
                if time.monotonic() > deadline:
                    raise
                world.pause(0.5)
                continue
            for case, task in zip(cases, tasks, strict=True):
                _help(world, case, str(task["state"]))
            now = time.monotonic()
            if all(task["state"] in ENDED_TASK for task in tasks):
                ended_since = ended_since or now
                # A process that is told to end may still do something.
                quiet = not any(process_lives(each) for case in cases for each in case.run.gates.processes())
                live = any(case.run.live_jobs for case in cases)
                if (quiet and not live) or now - ended_since > _ORPHANS_GET:
                    return tasks
            else:
                ended_since = None
            if now > deadline:
                return tasks
            world.pause(0.3)

    def _count(self, fault: Fault, cases: Iterable[Case], tasks: Iterable[dict[str, object]], seconds: float) -> None:
        rows = set()
        for case, task in zip(cases, tasks, strict=True):
            row = case.row or fault.name
            rows.add(row)
            result = case.run.world.airflow.xcom(case.run.dag_id, case.run.run_id, TASK)
            with self._rows_lock:
                self.rows.setdefault(row, Tally()).add(case, str(task["state"]), result)
            self.counted(1)
        with self._rows_lock:
            for row in rows:
                self.rows[row].seconds += seconds / len(rows)
        self.said(f"{fault.name}: {', '.join(self._problems(rows)) or 'as it should be'}, {seconds:.0f} s")

    def _problems(self, rows: Iterable[str]) -> list[str]:
        with self._rows_lock:
            return [problem for row in rows for problem in self.rows[row].problems]

    def _note_failure(self, fault: Fault, count: int, problem: str) -> None:
        """A fault that could not even be injected, or did not settle, is as bad as a wrong state."""
        with self._rows_lock:
            tally = self.rows.setdefault(fault.name, Tally())
            tally.times += count
            tally.wrong += count
            tally.problems.append(problem)
        self.counted(count)


def _help(world: World, case: Case, state: str) -> None:
    """End the job that a task waits for."""
    run = case.run
    if not case.finish:
        return
    waits_here = run.conf.get("deferrable") is False and state == "running"
    if state != "deferred" and not waits_here:
        run.deferred_since = None
        return
    run.deferred_since = run.deferred_since or time.monotonic()
    if time.monotonic() - run.deferred_since > _SETTLED_DEFERRAL:
        world.finish([run])
