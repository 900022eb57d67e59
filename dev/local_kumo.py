"""The local Kumo as a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import requests

from airflow_provider_kumo.emulator.local import connection_of
from dev.processes import LOOPBACK, CannotStartError, Watchdog, spawn, stop, tail, uninterrupted

if TYPE_CHECKING:
    from pathlib import Path

_KEY = "local:kumo"


class LocalKumoProcess:
    """A local Kumo on loopback.

    :param port: where it listens.
    :param speed: virtual seconds that pass in one second.
    :param log: file for its output.
    """

    def __init__(self, *, port: int, speed: float, log: Path) -> None:
        self.origin = f"http://{LOOPBACK}:{port}"
        self._options = ["--host", LOOPBACK, "--port", str(port), "--speed", f"{speed:g}"]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to it."""
        return connection_of(self.origin, _KEY, poll_interval=1)

    def stop(self) -> None:
        """Stop it; safe to call again."""
        if self._process is not None:
            stop([self._process.pid])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
            if self._watchdog is not None:
                self._watchdog.release(self._process.pid)
            self._process = None
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

    def _start(self) -> None:
        command = [sys.executable, "-m", "airflow_provider_kumo.emulator", *self._options]
        with uninterrupted():
            self._watchdog = Watchdog()
            self._process = spawn(command, log=self._log, env=os.environ)
            self._watchdog.guard(self._process.pid)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotStartError(f"The local Kumo does not start. The end of {self._log}:\n{tail(self._log)}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with requests.Session() as session, contextlib.suppress(requests.RequestException):
            session.trust_env = False
            url = f"{self.origin}/api/v1/connectors"
            return session.get(url, headers={"X-API-Key": _KEY}, timeout=5).ok
        return False
