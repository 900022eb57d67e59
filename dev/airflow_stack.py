"""A whole Airflow of one's own: SQLite, LocalExecutor, every component a process, on loopback, gone when done."""

from __future__ import annotations

import atexit
import base64
import configparser
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dev.airflow_api import AirflowApi, AirflowError
from dev.airflow_release import Release
from dev.processes import LOOPBACK, REPOSITORY, Watchdog, free_port, port_taken, spawn, stop, tail, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from dev.airflow_release import Settings

CACHE = REPOSITORY / ".cache" / "airflow-db"


class AirflowStack(AirflowApi):
    """Airflow's API server, scheduler, DAG processor and triggerer, and what can be asked of them once they run.

    Use as a context manager, or call :meth:`stop`; should
    this process die instead, a watchdog stops the components.

    :param home: ``AIRFLOW_HOME``: database, configuration and logs; made if absent, kept afterwards.
    :param dags: folder of the DAGs.
    :param python: of the environment that has Airflow; by default this one.
    :param env: extra environment of every component, such as ``AIRFLOW_CONN_KUMO_DEFAULT``.
    :param port: of the API server; ``None`` takes a free one.
    :param settings: sections and options over those of :meth:`dev.airflow_release.Release.settings`.
    :param parallelism: workers of the LocalExecutor.
    :param say: told what is being waited for.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        python: Path | None = None,
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        settings: Settings | None = None,
        parallelism: int = 4,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.home = home.resolve()
        self.dags = dags.resolve()
        self.port = free_port() if port is None else port
        self._python = Path(sys.executable) if python is None else python
        self._env = environment(self.home, env or {})
        self._settings = settings or {}
        self._parallelism = parallelism
        self._say = say
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._watchdog: Watchdog | None = None
        super().__init__(f"http://{LOOPBACK}:{self.port}", Release.of(self._python, self._env))
        self._env.update(self.release.environment)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, seconds: float = 120) -> None:
        """Make the database, start every component and wait until all have reported.

        :param seconds: how long that may take after the database.
        :raises AirflowError: with the end of the log of whatever failed.
        """
        if port_taken(self.port):
            raise AirflowError(f"Port {self.port} of this machine is taken: Airflow needs another")
        atexit.register(self.stop)
        with uninterrupted():
            self._watchdog = Watchdog()
        self.home.mkdir(parents=True, exist_ok=True)
        self._write_settings()
        self._make_database()
        self._say("starting Airflow")
        for name in self.release.components:
            self.start_component(name)
        self._wait(self._up, seconds, "every component of Airflow to report")

    def stop(self) -> None:
        """Stop every component; safe to call at any time, and again.

        :raises AirflowError: if a process survived even SIGKILL.
        """
        atexit.unregister(self.stop)
        left = self._stop(list(self._processes))
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
        if left:
            raise AirflowError(f"Processes of Airflow that do not end: {', '.join(left)}")

    # One component, for tests of failures

    def start_component(self, name: str) -> None:
        """Start ``api-server``, ``dag-processor``, ``scheduler`` or ``triggerer``."""
        command: list[str | Path] = [self._python, "-m", "airflow", *self.release.components[name]]
        self._spawn(name, command)

    def stop_component(self, name: str, *, grace: float = 4.0) -> None:
        """Stop one component: TERM, then KILL after the grace; ``grace=0`` kills at once."""
        left = self._stop([name], grace=grace)
        if left:
            raise AirflowError(f"Processes of the {name} that do not end: {', '.join(left)}")

    def kill_leader(self, name: str) -> None:
        """Kill a component's first process alone; what it has started finds itself without a parent."""
        self._processes[name].kill()

    def log_file(self, name: str) -> Path:
        """Return the file with the output of a component, or of ``migrate``."""
        return self.home / "output" / f"{name}.log"

    # Waiting

    def wait_for_dags(self, dag_ids: Collection[str], *, seconds: float = 60) -> None:
        """Wait until these DAGs can be triggered.

        :raises AirflowError: at once if a file of the folder cannot be imported, with its stack trace.
        """

        def parsed() -> bool:
            errors = self.import_errors()
            if errors:
                raise _BrokenDag("\n".join(f"{file} cannot be imported:\n{trace}" for file, trace in errors.items()))
            return self.dag_ids() >= set(dag_ids)

        self._wait(parsed, seconds, f"{', '.join(sorted(dag_ids))} in {self.dags}")

    def _up(self) -> bool:
        self._check_components()
        return self.healthy()

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        problem = ""
        while True:
            try:
                if condition():
                    return
            except (_BrokenDag, _Exited):
                raise
            except AirflowError as error:
                problem = f"\n{error}"
            if time.monotonic() > deadline:
                raise AirflowError(f"Waited {seconds:g} s for {what}. Logs are in {self.home / 'output'}.{problem}")
            time.sleep(0.25)

    def _spawn(self, name: str, command: list[str | Path]) -> subprocess.Popen[bytes]:
        with uninterrupted():
            process = spawn(command, log=self.log_file(name), env=self._env, cwd=self.home)
            self._processes[name] = process
            if self._watchdog is not None:
                self._watchdog.guard(process.pid)
        return process

    def _check_components(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = self.log_file(name)
                raise _Exited(f"Airflow's {name} ended with {process.returncode}. The end of {log}:\n{tail(log)}")

    def _stop(self, names: list[str], *, grace: float = 4.0) -> list[str]:
        processes = [self._processes.pop(name) for name in names if name in self._processes]
        left = stop([process.pid for process in processes], grace=grace)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            if self._watchdog is not None:
                self._watchdog.release(process.pid)
        return left

    # Preparation

    def _write_settings(self) -> None:
        """Write airflow.cfg: components that start together would each write a default one, with secrets of its own."""
        settings = self.release.settings(
            home=self.home,
            dags=self.dags,
            port=self.port,
            secret=secrets.token_urlsafe(48),
            fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            parallelism=self._parallelism,
        )
        for section, options in self._settings.items():
            settings.setdefault(section, {}).update(options)
        file = configparser.RawConfigParser()
        for section, options in settings.items():
            # Airflow interpolates: a lone % would be an error.
            file[section] = {option: value.replace("%", "%%") for option, value in options.items()}
        path = self.home / "airflow.cfg"
        path.touch(mode=0o600)
        with path.open("w") as target:
            file.write(target)
        for name, text in self.release.files().items():
            (self.home / name).write_text(text)

    def _make_database(self) -> None:
        """Copy a migrated database, or migrate one and keep a copy for the next time."""
        database = self.home / "airflow.db"
        if database.exists():
            return
        cached = CACHE / f"{self.release.version}-{self.release.fingerprint}.db"
        if cached.exists():
            shutil.copyfile(cached, database)
            return
        self._say("making Airflow's database (kept for the next time)")
        self._migrate()
        _keep(database, cached)

    def _migrate(self) -> None:
        log = self.log_file("migrate")
        process = self._spawn("migrate", [self._python, "-m", "airflow", "db", "migrate"])
        try:
            code: int | str = process.wait(timeout=300)
        except subprocess.TimeoutExpired:
            code = "a timeout of 300 s"
        self._stop(["migrate"])
        if code:
            raise AirflowError(f"airflow db migrate ended with {code}. The end of {log}:\n{tail(log)}")


class _BrokenDag(AirflowError):
    """A DAG file that cannot be imported: waiting does not mend it."""


class _Exited(AirflowError):
    """A component that has ended: waiting does not bring it back."""


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return ours without any setting of Airflow: an exported database address would have *that* database migrated."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    loopback = ",".join(filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), LOOPBACK, "localhost"]))
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        # Logs are read by people after a failure; buffered lines would be missing then.
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


def _keep(database: Path, cached: Path) -> None:
    """Copy in one step, so that nobody finds half a database."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cached.parent, delete=False) as partial:
        shutil.copyfile(database, partial.name)
    os.replace(partial.name, cached)
