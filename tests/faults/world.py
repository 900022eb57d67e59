"""A local Kumo and a whole Airflow that works with it, and what the faults do to both."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from airflow_provider_kumo.emulator.local import LocalKumo
from airflow_provider_kumo.submission import TASK_KEY_TAG, TaskKey
from dev.airflow_api import AirflowError
from dev.airflow_stack import AirflowStack
from dev.postgres import Postgres
from dev.processes import REPOSITORY
from tests.faults.gates import FOLDER_VARIABLE, Gates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import requests

    from airflow_provider_kumo.emulator.control import SeenJob

DAG_IDS = ("kumo_faults", "kumo_faults_one_try", "kumo_faults_execution_timeout", "kumo_faults_dagrun_timeout")
CONNECTION = "kumo_default"
TASK = "retrain"
ENDED_JOB = frozenset({"DONE", "FAILED", "CANCELLED"})
ENDED_TASK = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
POLL_INTERVAL = 0.5
#: Kumo's record is read at most so often, in seconds: many threads ask for many tasks.
_FRESH = 0.1
#: How long tasks may take to come to where a fault is injected, in seconds: on a busy machine, minutes.
_START = 300.0

SETTINGS = {
    "scheduler": {
        # A worker that died with its scheduler is noticed after one minute instead of five. Not sooner: on a busy
        # machine the scheduler would take living tasks for dead ones.
        "task_instance_heartbeat_timeout": "60",
        "task_instance_heartbeat_timeout_detection_interval": "3",
        "orphaned_tasks_check_interval": "10",
    },
    "triggerer": {"triggerer_health_check_threshold": "6"},
}


class Stopped(Exception):
    """Somebody has had enough."""


class NotThereError(AirflowError):
    """Airflow has not brought the tasks to where the fault was to be injected."""


class FaultyAirflow(AirflowStack):
    """An Airflow whose parts die, and may be asked things from several threads.

    :param database: ``sql_alchemy_conn``; None for SQLite.
    :param triggerers: how many.
    """

    def __init__(self, home: Path, dags: Path, *, database: str | None, triggerers: int, **options: Any) -> None:
        settings = {**SETTINGS, **({"database": {"sql_alchemy_conn": database}} if database else {})}
        super().__init__(home, dags, settings=settings, **options)
        self.triggerers = ["triggerer", *(f"triggerer-{number}" for number in range(2, triggerers + 1))]
        self._own_database = database is not None
        self._asking = threading.Lock()
        self._down: set[str] = set()

    def start(self, *, seconds: float = 120) -> None:
        super().start(seconds=seconds)
        for name in self.triggerers[1:]:
            self.start_component(name)

    def start_component(self, name: str) -> None:
        command = self.release.components["triggerer" if name in self.triggerers else name]
        self._spawn(name, [self._python, "-m", "airflow", *command])
        self._down.discard(name)

    def take_down(self, name: str, *, grace: float) -> None:
        """Stop a component for a fault: :meth:`revive` leaves it alone until it is started."""
        self._down.add(name)
        self.stop_component(name, grace=grace)

    def main_process(self, name: str) -> int:
        """Return the process id of a component."""
        return self._processes[name].pid

    def revive(self) -> None:
        """Start what has ended by itself, as systemd or Kubernetes would."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None and name not in self._down and name != "migrate":
                self._stop([name])
                self.start_component(name)

    def states(self, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
        """Return the only task instance of each run, by run id."""
        found: dict[str, dict[str, Any]] = {}
        for at in range(0, len(runs), 50):
            body = {"dag_run_ids": [run.run_id for run in runs[at : at + 50]], "page_limit": 100}
            path = "dags/~/dagRuns/~/taskInstances/list"
            for task in self.request("POST", path, json=body)["task_instances"]:
                found[task["dag_run_id"]] = task
        return found

    def _make_database(self) -> None:
        if self._own_database:
            self._say("making Airflow's database")
            self._migrate()
        else:
            super()._make_database()

    def _request(self, method: str, path: str, **keywords: Any) -> requests.Response:
        with self._asking:
            return super()._request(method, path, **keywords)


@dataclass(eq=False)
class Run:
    """One run of a fault DAG, which has one task."""

    world: World = field(repr=False)
    dag_id: str
    run_id: str
    gates: Gates = field(repr=False)
    conf: Mapping[str, Any] = field(repr=False)
    #: When the task was first seen waiting in the triggerer, for what must not happen too soon after.
    deferred_since: float | None = None

    @cached_property
    def key(self) -> str:
        """The tag by which its jobs are known."""
        return TaskKey(dag_id=self.dag_id, run_id=self.run_id, task_id=TASK, map_index=-1).digest

    @property
    def jobs(self) -> list[SeenJob]:
        """The jobs that were started for this task instance, oldest first."""
        return self.world.jobs_of(self.key)

    @property
    def live_jobs(self) -> list[SeenJob]:
        """Those that have not ended."""
        return [job for job in self.jobs if job.status not in ENDED_JOB]

    @property
    def job(self) -> SeenJob:
        """The newest of them."""
        return self.jobs[-1]

    @property
    def state(self) -> str | None:
        """The state of the task."""
        return self.world.airflow.task_state(self.dag_id, self.run_id, TASK)

    def mark(self, state: str) -> None:
        """Mark the task, as a person does."""
        self.world.airflow.set_task_state(self.dag_id, self.run_id, TASK, state)

    def clear(self) -> None:
        """Clear the task, as a person does."""
        self.world.airflow.clear(self.dag_id, self.run_id, [TASK])

    def kill(self, gate: str) -> None:
        """Kill the process of the task's first try, which has passed this gate, with SIGKILL."""
        process = self.gates.process_at(gate)
        if process is None:
            raise AirflowError(f"{self.run_id} has not reached {gate}")
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


class World:
    """A Kumo whose jobs wait to be told to end, and an Airflow.

    :param seed: of the local Kumo.
    :param postgres: PostgreSQL; else SQLite, which locks when many tasks end at once.
    :param triggerers: how many; two need PostgreSQL.
    :param stop: set when somebody has had enough: all waiting ends.
    :param say: told what is being waited for.
    """

    def __init__(
        self,
        *,
        seed: int,
        postgres: bool,
        triggerers: int,
        stop: threading.Event | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.stop = stop or threading.Event()
        self._seed = seed
        self._with_postgres = postgres
        self._triggerers = triggerers
        self._say = say
        self._running = ExitStack()
        self._started: dict[int, list[Run]] = {}
        self._reading = threading.Lock()
        self._jobs: dict[str, list[SeenJob]] = {}
        self._read_at = 0.0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _start(self) -> None:
        home = Path(tempfile.mkdtemp(prefix="kumo-faults-"))
        if not os.environ.get("KEEP_LOGS"):
            self._running.callback(shutil.rmtree, home, ignore_errors=True)
        self.home = home
        self.gates = home / "gates"
        # Slow enough that a cancelled job takes a while to end, as in Kumo.
        self.kumo = self._running.enter_context(LocalKumo(speed=100, seed=self._seed))
        self.kumo.hold(kind="training")
        self.postgres = self._running.enter_context(Postgres()) if self._with_postgres else None
        self.airflow = FaultyAirflow(
            home / "airflow",
            REPOSITORY / "tests" / "faults" / "dags",
            database=self.postgres.address if self.postgres else None,
            triggerers=self._triggerers,
            env={FOLDER_VARIABLE: str(self.gates), "PYTHONPATH": str(REPOSITORY)},
            parallelism=48,
            say=self._say,
        )
        self._running.enter_context(self.airflow)
        self._say("waiting for the DAGs")
        self.airflow.wait_for_dags(DAG_IDS)
        self.write_connection("POST")

    def write_connection(self, method: str) -> None:
        """Put Kumo's address and present key into Airflow's database, as a person does in the UI."""
        wanted = self.kumo.connection
        body = {
            "connection_id": CONNECTION,
            "conn_type": wanted["conn_type"],
            "host": wanted["host"],
            "password": wanted["password"],
            "extra": json.dumps({**wanted["extra"], "poll_interval": POLL_INTERVAL}),
        }
        path = "connections" if method == "POST" else f"connections/{CONNECTION}"
        self.airflow.request(method, path, json=body)

    # Runs

    def start(self, count: int, *, dag_id: str = DAG_IDS[0], **conf: Any) -> list[Run]:
        """Start so many runs side by side."""
        runs = []
        for _ in range(count):
            run_id = self.airflow.trigger(dag_id, conf)
            gates = Gates(self.gates / run_id, conf.get("hold"), tuple(conf.get("tries", (1,))))
            runs.append(Run(self, dag_id, run_id, gates, conf))
            self._started.setdefault(threading.get_ident(), []).append(runs[-1])
        return runs

    def clean_up(self) -> None:
        """Leave nothing of what this thread has started to its next fault: there is room for 25 live jobs."""
        runs = self._started.pop(threading.get_ident(), [])
        for run, task in zip(runs, self.tasks(runs), strict=True):
            run.gates.open()
            if task["state"] not in ENDED_TASK:
                with suppress(AirflowError):
                    run.mark("failed")
        for run in runs:
            for job in run.live_jobs:
                self.kumo.cancel(job.id)

    def start_deferred(self, count: int, **options: Any) -> list[Run]:
        """Start so many runs and wait until all are waited for in a triggerer."""
        runs = self.start(count, **options)
        self.wait_deferred(runs)
        return runs

    def start_held(self, count: int, gate: str, **options: Any) -> list[Run]:
        """Start so many runs and wait until the first try of each is held at a gate."""
        runs = self.start(count, hold=gate, **options)
        self.wait_at(runs, gate)
        return runs

    def start_resuming(self, count: int, gate: str, **options: Any) -> list[Run]:
        """Start so many runs, end their jobs well, and wait until each task is held at a gate of its resumption."""
        runs = self.start(count, hold=gate, **options)
        self.wait_deferred(runs)
        self.finish(runs)
        self.wait_at(runs, gate)
        return runs

    def wait_at(self, runs: Sequence[Run], gate: str, *, try_number: int = 1, seconds: float = _START) -> None:
        """Wait until a try of each run has reached a gate."""
        self.wait(
            lambda: all(run.gates.process_at(gate, try_number) for run in runs),
            f"everybody at {gate}",
            seconds=seconds,
            error=NotThereError,
        )

    def wait_deferred(self, runs: Sequence[Run], *, seconds: float = _START) -> None:
        """Wait until every task is deferred and its trigger has looked at its job."""
        self.wait_states(runs, "deferred", seconds=seconds)
        # Kumo's record is read a little less often than Airflow's.
        self.wait(lambda: all(run.jobs for run in runs), "every task's job")
        self.wait_looked(runs, since=0.0, seconds=seconds)

    def wait_looked(self, runs: Sequence[Run], *, since: float, seconds: float = 60) -> None:
        """Wait until a triggerer has looked at every run's newest job after a moment."""
        paths = {f"/api/v1/training_jobs/{run.job.id}" for run in runs}
        self.wait(lambda: paths <= self._looked_at(since), "every trigger to look at its job", seconds=seconds)

    def _looked_at(self, since: float) -> set[str]:
        # Before it defers, the worker looks at its job in the list only.
        found = set()
        for seen in reversed(self.kumo.requests):
            if seen.time < since:
                break
            if (seen.method, seen.status) == ("GET", 200):
                found.add(seen.path)
        return found

    def wait_states(self, runs: Sequence[Run], *states: str, seconds: float = _START) -> None:
        """Wait until the task of each run is in one of these states."""
        self.wait(
            lambda: all(task["state"] in states for task in self.tasks(runs)),
            f"every task to be {' or '.join(states)}",
            seconds=seconds,
            error=NotThereError,
        )

    def tasks(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
        """Return each run's task instance."""
        found = self.airflow.states(runs)
        return [found.get(run.run_id, {"state": None}) for run in runs]

    def wait(
        self,
        condition: Callable[[], bool],
        what: str,
        *,
        seconds: float = 60,
        error: type[AirflowError] = AirflowError,
    ) -> None:
        """Wait until something is true; meanwhile restart what has ended by itself.

        :param error: what it is if it did not come true in time.
        """
        deadline = time.monotonic() + seconds
        problem: object = ""
        while True:
            try:
                if condition():
                    return
            except AirflowError as trouble:
                # The API server may be the very part that is down.
                problem = f": {trouble}"
            if time.monotonic() > deadline:
                raise error(f"Waited {seconds:g} s for {what}{problem}")
            self.pause(0.3)

    def pause(self, seconds: float) -> None:
        """Restart what has ended by itself, and wait a moment.

        :raises Stopped: somebody has had enough.
        """
        if self.stop.wait(seconds):
            raise Stopped
        self.airflow.revive()

    # Jobs

    def jobs_of(self, key: str) -> list[SeenJob]:
        """Return the jobs with a task's key, oldest first."""
        with self._reading:
            if time.monotonic() - self._read_at > _FRESH:
                self._jobs = {}
                for job in self.kumo.jobs("training"):
                    self._jobs.setdefault(job.tags.get(TASK_KEY_TAG, ""), []).append(job)
                self._read_at = time.monotonic()
            return list(self._jobs.get(key, ()))

    def finish(self, runs: Sequence[Run]) -> None:
        """Have the live jobs of these runs end well."""
        for run in runs:
            for job in run.live_jobs:
                with suppress(RuntimeError):
                    self.kumo.finish(job.id)


def process_lives(process: int) -> bool:
    """Tell whether a process is alive and no zombie."""
    with suppress(psutil.Error):
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    return False
