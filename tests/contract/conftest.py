"""What the contract is tested against: three versions of kumo-api, and Kumo's own client."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pytest

from airflow_provider_kumo.client.answers import read_answer
from airflow_provider_kumo.client.config import KumoConfig
from airflow_provider_kumo.client.sync import KumoClient
from airflow_provider_kumo.emulator.local import LocalKumo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_kumo.client.calls import Call

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
OFFICIAL_PYTHON = REPOSITORY / ".venv-kumoai" / "bin" / "python"
PATIENCE = 60.0

CONFIG = KumoConfig(base_url="https://kumo.example.com/api", secret="acme:secret")


@pytest.fixture(autouse=True)
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a time that is read as local time be wrong."""
    monkeypatch.setenv("TZ", "FAR-05:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def environment(**more: str) -> dict[str, str]:
    """Return a subprocess's environment, without what would lead it elsewhere."""
    astray = ("KUMO_", "RBAC_", "PYTHON")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(astray)}
    return {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")} | more


@dataclass(frozen=True)
class Schema:
    """One version of kumo-api; its programs run in a process of their own, since a process can import only one."""

    name: str
    version: str

    def run(self, program: str, stdin: str = "") -> dict[str, Any]:
        folder = REPOSITORY / ".cache" / "kumo-api" / self.version
        if not (folder / "kumoapi").is_dir():
            pytest.fail(f"kumo-api {self.version} is not in {folder}; run: make kumo-clients", pytrace=False)
        done = subprocess.run(
            [sys.executable, PROGRAMS / program],
            input=stdin,
            env=environment(PYTHONPATH=str(folder)),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed: dict[str, Any] = json.loads(done.stdout)
        assert printed["version"] == self.version, "another kumo-api was imported"
        return printed

    @cached_property
    def printed(self) -> dict[str, Any]:
        return self.run("answers.py")

    def read(self, name: str, call: Call[T]) -> T:
        """Read one of Kumo's answers as the transports do."""
        return read_answer(call, CONFIG, 200, {}, self.printed["bodies"][name].encode())


@cache
def schema_named(name: str) -> Schema:
    pins = (REPOSITORY / "requirements" / f"kumo-api-{name}.txt").read_text()
    versions = [line.partition("==")[2].split()[0] for line in pins.splitlines() if line.startswith("kumo-api==")]
    return Schema(name, versions[0])


@pytest.fixture(scope="session", params=["newest", "middle", "oldest"])
def schema(request: pytest.FixtureRequest) -> Schema:
    return schema_named(request.param)


@pytest.fixture(scope="session")
def newest_schema() -> Schema:
    return schema_named("newest")


class OfficialError(Exception):
    """What Kumo's own client raised; ``kind`` is the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class OfficialClient:
    """Kumo's own client in its own process, because it can be initialised once only."""

    Error = OfficialError

    def __enter__(self) -> Self:
        if not OFFICIAL_PYTHON.exists():
            pytest.fail(f"Kumo's own client is not in {OFFICIAL_PYTHON}; run: make kumo-clients", pytrace=False)
        self._process = subprocess.Popen(
            [OFFICIAL_PYTHON, PROGRAMS / "official.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, action: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function of the client, such as ``training_job_api.get``, and return its result as JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = threading.Timer(PATIENCE, self._process.kill)
        guard.start()
        try:
            print(json.dumps([action, args, kwargs]), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        assert line, f"Kumo's own client died or hung in {action}"
        answer = json.loads(line)
        if "raised" in answer:
            raise OfficialError(answer["raised"], answer["message"])
        return answer["result"]


class Clock:
    """A clock that goes like any other until it is set forward."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def _kumo_of_module(clock: Clock) -> Iterator[LocalKumo]:
    with LocalKumo(speed=1, clock=clock) as kumo:
        yield kumo


@pytest.fixture
def new_official() -> Iterator[OfficialClient]:
    """Kumo's own client, not logged in; starting it takes seconds."""
    with OfficialClient() as client:
        yield client


@pytest.fixture(scope="module")
def official(_kumo_of_module: LocalKumo) -> Iterator[OfficialClient]:
    """Kumo's own client, logged in to the local Kumo. One for all tests, since starting it takes seconds."""
    with OfficialClient() as client:
        client("init", url=_kumo_of_module.url, api_key=_kumo_of_module.api_key)
        yield client


@pytest.fixture
def kumo(_kumo_of_module: LocalKumo) -> LocalKumo:
    """The local Kumo as it was at first. Its jobs take hours of its clock, so nothing happens by itself in a test."""
    _kumo_of_module.reset()
    return _kumo_of_module


@pytest.fixture(scope="session")
def client_for() -> Callable[..., KumoClient]:
    """Return how to make our client for a local Kumo, within a group and project or none."""

    def make(kumo: LocalKumo, **scope: str) -> KumoClient:
        config = KumoConfig(base_url=kumo.url, secret=kumo.api_key, scope=scope)
        return KumoClient(lambda: config, log=logging.getLogger(__name__))

    return make


@pytest.fixture
def ours(kumo: LocalKumo, client_for: Callable[..., KumoClient]) -> Iterator[KumoClient]:
    """Our client, logged in to the same local Kumo."""
    with client_for(kumo) as client:
        yield client
