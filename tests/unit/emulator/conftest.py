"""A local Kumo whose clock the test moves, and a client for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from airflow_provider_kumo.emulator import seeds
from airflow_provider_kumo.emulator.app import make_app
from airflow_provider_kumo.emulator.control import Control
from airflow_provider_kumo.emulator.faults import FaultList
from airflow_provider_kumo.emulator.store import Settings, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SPEED = 60.0


class Clock:
    """Wall-clock time that stands still until it is told to move."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


class Api:
    """A client of the emulated API that knows the key."""

    def __init__(self, client: TestClient[Any, Any], store: Store) -> None:
        self.client = client
        self.store = store

    async def __call__(
        self, method: str, path: str, *, json: Any = None, data: Any = None, headers: Any = None, **params: str
    ) -> tuple[int, Any]:
        headers = {"X-API-Key": self.store.key} if headers is None else headers
        url = path if path.startswith("/") else f"/api/v1/{path}"
        async with self.client.request(
            method, url, json=json, data=data, headers=headers, params=params, allow_redirects=False
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else text

    async def train(self, query: str = "churn_30d", **fields: Any) -> str:
        status, body = await self("POST", "training_jobs", json={"job_tags": {}, "pquery_id": query} | fields)
        assert status == 200, body
        return body["id"]

    async def predict(self, model: str | None = None, **fields: Any) -> tuple[str | None, dict[str, Any]]:
        model = model or self.model()
        body = {"job_tags": {}, "model_training_job_id": model, "predict_options": {}} | fields
        status, answer = await self("POST", "prediction_jobs", json=body)
        assert status == 200, answer
        return answer[0], answer[1]

    async def status(self, job_id: str) -> str:
        kind = "training_jobs" if job_id.startswith("trainingjob") else "prediction_jobs"
        _, body = await self("GET", f"{kind}/{job_id}")
        return body["job_status_report"]["status"]

    def model(self, query: str = "churn_30d") -> str:
        return next(job.id for job in self.store.jobs.values() if job.pquery_name == query)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings() -> Settings:
    return Settings(speed=SPEED)


@pytest.fixture
def store(clock: Clock, settings: Settings) -> Store:
    store = Store(settings, clock=clock)
    seeds.seed(store)
    return store


@pytest.fixture
def faults() -> FaultList:
    return FaultList()


@pytest.fixture
def control(store: Store, faults: FaultList) -> Control:
    return Control(store, faults)


@pytest.fixture
async def api(store: Store, faults: FaultList) -> AsyncIterator[Api]:
    async with TestClient(TestServer(make_app(store, fault_list=faults))) as client:
        yield Api(client, store)
