"""A PostgreSQL of one's own: on loopback, in a temporary folder, gone when done. For what SQLite cannot do."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from dev.processes import LOOPBACK, CannotStartError, Watchdog, free_port, spawn, stop, tail, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

_USER: Final = "airflow"
_ABSENT: Final = (
    "PostgreSQL is not installed. On Debian and Ubuntu: apt install postgresql; on macOS: brew install postgresql. "
    "Set POSTGRES_BIN to the folder of initdb and postgres if they are elsewhere."
)


class Postgres:
    """A PostgreSQL server with one empty database, which can be stopped and started again in the middle of things.

    Use as a context manager. PostgreSQL refuses to run as root: for root it runs as the user ``postgres``, which
    Debian's package makes, or as ``nobody``.

    :param port: where it listens; ``None`` takes a free one.
    """

    def __init__(self, *, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._password = secrets.token_urlsafe(16)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self.start()
            self._run("createdb", "--host", LOOPBACK, "--port", str(self.port), "--username", _USER, "airflow")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """What Airflow calls ``sql_alchemy_conn``."""
        return f"postgresql+psycopg2://{_USER}:{self._password}@{LOOPBACK}:{self.port}/airflow"

    @property
    def process_id(self) -> int:
        """The server's first process, which has started all others."""
        if self._process is None:
            raise CannotStartError("This PostgreSQL does not run")
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """The file with the server's output."""
        return self._root / "postgres.log"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        command: list[str | Path] = [
            _program("postgres"),
            "-D",
            self._root / "data",
            "-h",
            LOOPBACK,
            "-p",
            str(self.port),
        ]
        options = {"unix_socket_directories": "", "max_connections": "300", "fsync": "off"}
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with uninterrupted():
            self._process = spawn([*_as_somebody(), *command], log=self.log_file, env=self._env, cwd=self._root)
            if self._watchdog is not None:
                self._watchdog.guard(self._process.pid)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotStartError(f"PostgreSQL does not start. The end of its log:\n{tail(self.log_file)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server at once, as a restart does: every session is cut. Safe to call again."""
        process, self._process = self._process, None
        if process is None:
            return
        # TERM would wait until Airflow has hung up.
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        stop([process.pid])
        if self._watchdog is not None:
            self._watchdog.release(process.pid)

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def _root(self) -> Path:
        if self._folder is None:
            raise CannotStartError("This PostgreSQL has no data: use it as a context manager")
        return self._folder

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "PGPASSWORD": self._password, "LC_ALL": "C.UTF-8"}

    def _prepare(self) -> None:
        _program("postgres")
        with uninterrupted():
            self._watchdog = Watchdog()
            self._folder = Path(tempfile.mkdtemp(prefix="airflow-postgres-"))
        password = self._folder / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if os.geteuid() == 0:
            for path in (self._folder, password):
                shutil.chown(path, _somebody())
        options = ["--username", _USER, "--pwfile", str(password), "--auth", "scram-sha-256", "--no-sync"]
        self._run("initdb", "-D", str(self._folder / "data"), *options)

    def _run(self, program: str, *arguments: str) -> None:
        command: list[str | Path] = [*_as_somebody(), _program(program), *arguments]
        done = subprocess.run(command, env=self._env, cwd=self._root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotStartError(f"{program} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        command: list[str | Path] = [_program("pg_isready"), "--quiet", "--host", LOOPBACK, "--port", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0


def _program(name: str) -> Path:
    """Find a program of PostgreSQL; Debian keeps the server's away from the path."""
    named = os.environ.get("POSTGRES_BIN")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True)
    folders = [Path(named)] if named else debian
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    found = None if named else shutil.which(name)
    if found is None:
        raise CannotStartError(_ABSENT)
    return Path(found)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _somebody() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise CannotStartError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _as_somebody() -> Sequence[str | Path]:
    """Return the words before a command that give up root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(_somebody())
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def version() -> str | None:
    """Return which PostgreSQL there is, None if none."""
    try:
        said = subprocess.run([_program("postgres"), "--version"], capture_output=True, text=True, check=False).stdout
    except CannotStartError:
        return None
    return next((word for word in said.split() if word[0].isdigit()), None)
