"""A Redis of one's own: on loopback, in memory, gone when done. The broker of a CeleryExecutor."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from dev.processes import LOOPBACK, CannotStartError, Watchdog, free_port, spawn, stop, tail, uninterrupted

if TYPE_CHECKING:
    import subprocess

_ABSENT: Final = "Redis is not installed. On Debian and Ubuntu: apt install redis-server; on macOS: brew install redis."


class Redis:
    """A Redis server. Use as a context manager."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> Self:
        program = shutil.which("redis-server")
        if program is None:
            raise CannotStartError(_ABSENT)
        self._folder = Path(tempfile.mkdtemp(prefix="airflow-redis-"))
        log = self._folder / "redis.log"
        command = [program, "--bind", LOOPBACK, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        with uninterrupted():
            self._watchdog = Watchdog()
            self._process = spawn(command, log=log, env={}, cwd=self._folder)
            self._watchdog.guard(self._process.pid)
        deadline = time.monotonic() + 10
        while "Ready to accept connections" not in tail(log):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = tail(log)
                self.close()
                raise CannotStartError(f"Redis does not start. The end of its log:\n{said}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """What Celery calls ``broker_url``."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def close(self) -> None:
        """Stop the server."""
        process, self._process = self._process, None
        if process is not None:
            stop([process.pid])
            process.wait(timeout=5)
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
