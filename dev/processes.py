"""Start processes in groups of their own, and stop whole groups for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import FrameType

REPOSITORY = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def spawn(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str], cwd: Path = REPOSITORY
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a new session, so that Ctrl-C reaches us alone and we stop it in order.

    :param command: program and arguments; anything secret belongs in ``env``, which other users cannot read.
    :param log: file that takes both outputs.
    :param env: the whole environment.
    :param cwd: working directory.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )


class CannotStartError(Exception):
    """A process cannot be started, or ends before it is of use; the message has the end of its log."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and its like until the block is over: a process that was just started is also noted down.

    Handlers of Python only, not the signal mask: a mask would be inherited by the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
        for missed in held:
            os.kill(os.getpid(), missed)


def stop(leaders: Iterable[int], *, grace: float = 4.0) -> list[str]:
    """Stop process groups and everything that descends from them: TERM, then KILL after the grace.

    :param leaders: process ids of group leaders.
    :param grace: seconds that the groups get to end by themselves; 0 kills at once, without TERM.
    :returns: what is alive nevertheless, as text; empty when all is well.
    """
    groups = set(leaders)
    members = family(groups)
    left = members
    if grace > 0:
        # Airflow's API server often lingers when it has long finished, so the grace is short.
        # Descendants in groups of their own (tasks of Airflow 2) get their TERM from their parents.
        _signal_groups(groups, signal.SIGTERM)
        left = _wait(members, groups, grace)
    if left:
        _signal_groups(groups, signal.SIGKILL)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        left = _wait(left, groups, 5.0)
    return [_describe(process) for process in left]


def family(leaders: Iterable[int]) -> set[psutil.Process]:
    """Return the living members of the groups and the living descendants of their leaders."""
    groups = set(leaders)
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) in groups and _alive(process):
                found.add(process)
    for leader in groups:
        with contextlib.suppress(psutil.Error):
            found.update(filter(_alive, psutil.Process(leader).children(recursive=True)))
    return found


def tail(log: Path, lines: int = 30) -> str:
    """Return the end of a log file."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return f"(no log at {log})"
    return "\n".join(text.splitlines()[-lines:])


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_taken(port: int) -> bool:
    """Tell whether somebody listens on this port, on the loopback interface or on all."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return True
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


class Watchdog:
    """A process that stops groups when we die without doing so ourselves (SIGKILL, a crash).

    It holds one end of a pipe: the system closes our end whatever we die of, on Linux and macOS alike.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dev.watchdog"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
            start_new_session=True,
        )

    def guard(self, leader: int) -> None:
        """Have this group stopped if we die."""
        self._tell(f"+{leader}")

    def release(self, leader: int) -> None:
        """Forget a group that has been stopped: its id may be given to a stranger."""
        self._tell(f"-{leader}")

    def close(self) -> None:
        """End the watchdog; it stops the groups that it still guards."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait(timeout=30)

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()


def _wait(members: set[psutil.Process], groups: set[int], seconds: float) -> set[psutil.Process]:
    """Wait until these and all that joined the groups since are gone; return those that are not."""
    deadline = time.monotonic() + seconds
    while True:
        left = {process for process in members if _alive(process)} | family(groups)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal_groups(groups: Iterable[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _describe(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {process.name()}"
    return str(process.pid)
