"""Two triggerers on PostgreSQL, 2000 waiting jobs, one triggerer killed and one added: ``make bench-scale``.

Airflow's own engine and our trigger, with the thresholds that Airflow has by default. The tasks start in the triggerer
and end there, because two thousand workers would measure the machine. About seven minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2
from rich.console import Console

from benchmarks import scale_report
from benchmarks.dags.waiting import DAGS, POLL_INTERVAL, TASKS
from benchmarks.ending import EndingJobs
from dev.airflow_api import AirflowError
from dev.airflow_stack import AirflowStack
from dev.postgres import Postgres
from dev.processes import REPOSITORY

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

JOBS = DAGS * TASKS
FIRST, SECOND, ADDED = "triggerer", "triggerer-2", "triggerer-3"
_ENDING_SECONDS = 60.0


class ScaledAirflow(AirflowStack):
    """An Airflow on PostgreSQL with several triggerers, each with a base URL of Kumo of its own.

    :param kumo_port: of the server that the triggers ask.
    """

    def __init__(self, home: Path, dags: Path, *, kumo_port: int, **options: Any) -> None:
        super().__init__(home, dags, **options)
        self._kumo_port = kumo_port

    def start(self, *, seconds: float = 120) -> None:
        """Start every component, and the second triggerer."""
        super().start(seconds=seconds)
        self.start_component(SECOND)

    def start_component(self, name: str) -> None:
        """Start a component, or a further triggerer."""
        command = self.release.components["triggerer" if name.startswith("triggerer") else name]
        self._spawn(name, [self._python, "-m", "airflow", *command])

    def processes_of(self, name: str) -> list[psutil.Process]:
        """Return a component's process and those below it."""
        main = psutil.Process(self._processes[name].pid)
        return [main, *main.children(recursive=True)]

    def _spawn(self, name: str, command: list[str | Path]) -> subprocess.Popen[bytes]:
        before = self._env
        host = f"http://127.0.0.1:{self._kumo_port}/{name}/api"
        connection = json.dumps({"conn_type": "kumo", "host": host, "password": "bench:secret"})
        self._env = {**before, "AIRFLOW_CONN_KUMO_DEFAULT": connection}
        try:
            return super()._spawn(name, command)
        finally:
            self._env = before

    def _make_database(self) -> None:
        self._migrate()


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What the machine did for a while.

    :param polls: a second, by triggerer.
    :param transactions: that PostgreSQL committed, a second.
    :param rows_written: inserted, updated and deleted, a second.
    :param database_cpu: share of one core that PostgreSQL took.
    :param connections: to PostgreSQL.
    :param triggerer_cpu: share of one core, by triggerer.
    :param triggerer_memory: megabytes, by triggerer; shared pages count once.
    """

    name: str
    polls: dict[str, float]
    transactions: float
    rows_written: float
    database_cpu: float
    connections: int
    triggerer_cpu: dict[str, float]
    triggerer_memory: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it all. Times are in seconds.

    :param deferring: from the first run to the last look of a trigger at its job.
    :param noticed: from the kill until the first orphaned job was looked at again.
    :param taken_over: from the kill until the last one was.
    :param taken_by: how many of the orphaned jobs each triggerer took.
    :param late: from a job's end to the end of its task: median, 95th percentile, latest.
    :param states: task instances by state.
    :param told_twice: jobs whose end was told to more than one look.
    """

    phases: list[Phase]
    deferring: float
    orphaned: int
    noticed: float
    taken_over: float
    taken_by: dict[str, int]
    late: tuple[float, float, float]
    states: dict[str, int]
    told_twice: int


class Scale:
    """Brings the jobs to wait, breaks a triggerer, and lets them end.

    :param say: told what is being waited for.
    """

    def __init__(
        self, kumo: EndingJobs, postgres: Postgres, airflow: ScaledAirflow, say: Callable[[str], None]
    ) -> None:
        self._kumo = kumo
        self._airflow = airflow
        self._say = say
        self._database = psycopg2.connect(postgres.address.replace("+psycopg2", ""))
        self._database.autocommit = True
        self._postgres = postgres
        self._alive = [FIRST, SECOND]

    def run(self) -> Outcome:
        """Do it all."""
        idle = self._phase("nothing waits", seconds=15)
        started = time.monotonic()
        for number in range(DAGS):
            self._airflow.trigger(f"kumo_bench_{number:02}")
        self._wait(lambda: len(self._kumo.last_look) == JOBS, "every job to be looked at", seconds=240)
        deferring = time.monotonic() - started
        both = self._phase("two triggerers", seconds=30)
        orphans = [number for number, (who, _) in self._kumo.last_look.items() if who == FIRST]
        killed = time.monotonic()
        self._airflow.stop_component(FIRST, grace=0)
        self._airflow.start_component(ADDED)
        self._alive = [SECOND, ADDED]
        self._wait(lambda: bool(self._retaken(orphans, killed)), "an orphaned job to be looked at", seconds=180)
        noticed = time.monotonic() - killed
        self._wait(lambda: len(self._retaken(orphans, killed)) == len(orphans), "all of them", seconds=240)
        taken_over = time.monotonic() - killed
        after = self._phase("one killed, one added", seconds=30)
        self._kumo.end_all(over=_ENDING_SECONDS)
        ending = self._phase("jobs end, 33 a second", seconds=_ENDING_SECONDS)
        self._wait(lambda: self._states().get("deferred", 0) == 0, "every task to end", seconds=180)
        late = sorted(ended - (self._kumo.end_of(number) or 0) for number, ended in self._ends().items())
        owners = [self._kumo.last_look[number][0] for number in orphans]
        return Outcome(
            phases=[idle, both, after, ending],
            deferring=deferring,
            orphaned=len(orphans),
            noticed=noticed,
            taken_over=taken_over,
            taken_by={who: owners.count(who) for who in self._alive},
            late=(median(late), late[math.ceil(0.95 * len(late)) - 1], late[-1]),
            states=self._states(),
            told_twice=sum(count > 1 for count in self._kumo.ends_told.values()),
        )

    def _retaken(self, orphans: list[int], killed: float) -> dict[int, tuple[str, float]]:
        looks = {number: self._kumo.last_look[number] for number in orphans}
        return {number: look for number, look in looks.items() if look[0] != FIRST and look[1] > killed}

    def _wait(self, condition: Callable[[], bool], what: str, *, seconds: float) -> None:
        self._say(f"waiting for {what}")
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AirflowError(f"Waited {seconds:g} s for {what}: {self._states()}, {dict(self._kumo.polls)}")
            time.sleep(0.25)

    def _phase(self, name: str, *, seconds: float) -> Phase:
        self._say(f"measuring: {name}")
        polls, database, cpu, clock = dict(self._kumo.polls), self._counters(), self._cpu(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - clock
        later, used = self._counters(), self._cpu()
        return Phase(
            name=name,
            polls={who: (self._kumo.polls[who] - polls.get(who, 0)) / took for who in self._alive},
            transactions=(later[0] - database[0]) / took,
            rows_written=(later[1] - database[1]) / took,
            database_cpu=(used["postgres"] - cpu["postgres"]) / took,
            connections=later[2],
            triggerer_cpu={who: (used[who] - cpu[who]) / took for who in self._alive},
            triggerer_memory={who: _memory(self._airflow.processes_of(who)) for who in self._alive},
        )

    def _counters(self) -> tuple[int, int, int]:
        with self._database.cursor() as cursor:
            cursor.execute(
                "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted, numbackends "
                "FROM pg_stat_database WHERE datname = current_database()"
            )
            commits, written, backends = cursor.fetchone()
        return commits, written, backends

    def _cpu(self) -> dict[str, float]:
        main = psutil.Process(self._postgres.process_id)
        return {
            # What has ended counts for its parent.
            "postgres": _cpu([main, *main.children()]) + sum(main.cpu_times()[2:4]),
            **{who: _cpu(self._airflow.processes_of(who)) for who in self._alive},
        }

    def _states(self) -> dict[str, int]:
        with self._database.cursor() as cursor:
            cursor.execute("SELECT coalesce(state, 'none'), count(*) FROM task_instance GROUP BY 1")
            return dict(cursor.fetchall())

    def _ends(self) -> dict[int, float]:
        with self._database.cursor() as cursor:
            cursor.execute("SELECT task_id, extract(epoch FROM end_date) FROM task_instance WHERE end_date IS NOT NULL")
            return {int(task_id.rpartition("_")[2]): float(ended) for task_id, ended in cursor.fetchall()}


def _cpu(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _memory(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss / 1e6
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/scaling.md")
    options = parser.parse_args()
    console, started = Console(), time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="kumo-scale-"))
    try:
        with EndingJobs(JOBS) as kumo, Postgres() as postgres:
            airflow = ScaledAirflow(
                home,
                REPOSITORY / "benchmarks" / "dags",
                kumo_port=kumo.port,
                env={"PYTHONPATH": str(REPOSITORY)},
                settings={
                    "database": {"sql_alchemy_conn": postgres.address},
                    # Room for the jobs of one that is lost. The rest is Airflow's default.
                    "triggerer": {"capacity": str(JOBS), "job_heartbeat_sec": "5"},
                },
                say=console.print,
            )
            with airflow:
                airflow.wait_for_dags([f"kumo_bench_{number:02}" for number in range(DAGS)], seconds=120)
                outcome = Scale(kumo, postgres, airflow, console.print).run()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    minutes = (time.monotonic() - started) / 60
    for table in scale_report.tables(outcome):
        console.print(table.for_terminal())
    console.print(f"{minutes:.1f} minutes, each job polled every {POLL_INTERVAL:g} s")
    if options.write:
        scale_report.write(outcome, minutes=minutes)


if __name__ == "__main__":
    main()
