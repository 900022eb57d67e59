"""What keeps a real Airflow from outliving the tests and the demo; with plain processes, so it takes seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from dev.airflow_stack import environment
from dev.processes import REPOSITORY, Watchdog, free_port, port_taken, spawn, stop, tail, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

# Ignores TERM and has a child in a session of its own, as a task of Airflow 2 is.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""

OWNER = """
import os, signal, sys
from pathlib import Path
from dev.processes import Watchdog, spawn
leader = spawn([sys.executable, "-c", "import time; time.sleep(600)"], log=Path(sys.argv[1]), env=os.environ)
Watchdog().guard(leader.pid)
print(leader.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_stop_ends_the_stubborn_and_their_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    leader = spawn([sys.executable, "-c", STUBBORN], log=log, env=os.environ)
    assert eventually(lambda: tail(log).strip().isdecimal())
    child = int(tail(log))

    assert stop([leader.pid], grace=0.5) == []

    assert leader.wait(timeout=1) == -signal.SIGKILL
    assert gone(child)


def test_stop_of_what_has_gone_already_is_nothing(tmp_path: Path) -> None:
    leader = spawn([sys.executable, "-c", ""], log=tmp_path / "log", env=os.environ)
    leader.wait(timeout=10)

    assert stop([leader.pid]) == []


def test_a_watchdog_stops_what_a_killed_owner_left(tmp_path: Path) -> None:
    owner = subprocess.run(
        [sys.executable, "-c", OWNER, tmp_path / "log"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert owner.returncode == -signal.SIGKILL
    assert eventually(lambda: gone(int(owner.stdout)))


def test_a_watchdog_leaves_a_released_process_alone(tmp_path: Path) -> None:
    leader = spawn([sys.executable, "-c", "import time; time.sleep(600)"], log=tmp_path / "log", env=os.environ)
    watchdog = Watchdog()
    watchdog.guard(leader.pid)
    watchdog.release(leader.pid)
    watchdog.close()

    assert leader.poll() is None

    stop([leader.pid])
    leader.wait(timeout=1)


def test_a_signal_waits_until_a_started_process_is_noted_down() -> None:
    order = []

    def note(*_: object) -> None:
        order.append("signal")

    before = signal.signal(signal.SIGTERM, note)
    try:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            order.append("noted down")
    finally:
        signal.signal(signal.SIGTERM, before)

    assert order == ["noted down", "signal"]


def test_no_setting_of_the_developers_airflow_comes_through(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production")
    monkeypatch.setenv("AIRFLOW_CONFIG", "/etc/airflow.cfg")
    monkeypatch.setenv("NO_PROXY", "intranet")

    env = environment(tmp_path, {"AIRFLOW_CONN_KUMO_DEFAULT": "{}"})

    assert {name: value for name, value in env.items() if name.startswith("AIRFLOW_")} == {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONN_KUMO_DEFAULT": "{}",
    }
    assert env["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_a_free_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert not port_taken(port)

    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: port_taken(port))
    finally:
        server.kill()
        server.wait(timeout=5)
