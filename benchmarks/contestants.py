"""Who waits: ours, what lies below it, and the peers' own triggers from their released packages.

Each contestant is a function that makes a coroutine function which waits for one job; the coroutine polls for ever.
Everything is imported inside, because what an import costs in memory is part of the result.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Waiter = Callable[[int], Coroutine[Any, Any, None]]

#: At most so many connections to the server for those who may choose: aiohttp's own default.
CONNECTIONS = 100

_PATH = "/api/v1/training_jobs/trainingjob-{:016x}"
_HEADERS = {"X-API-Key": "bench:secret", "Accept": "application/json", "User-Agent": "bench"}
_FAR = time.time() + 1e6


def streams(port: int, pause: float) -> Waiter:
    """Streams of asyncio and the least HTTP that can be written: the physical limit in Python."""
    pool: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
    places = asyncio.Semaphore(CONNECTIONS)

    async def wait(number: int) -> None:
        path = _PATH.format(number)
        headers = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n".encode()
        while True:
            async with places:
                reader, writer = pool.get_nowait() if pool.qsize() else await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                pool.put_nowait((reader, writer))
            assert json.loads(body)["job_status_report"]["status"] == "RUNNING"
            await asyncio.sleep(pause)

    return wait


def aiohttp(port: int, pause: float) -> Waiter:
    """One aiohttp session, one GET after another, the JSON decoded: what every client on aiohttp pays."""
    from aiohttp import ClientSession, TCPConnector

    session = ClientSession(connector=TCPConnector(limit=CONNECTIONS), headers=_HEADERS)

    async def wait(number: int) -> None:
        url = f"http://127.0.0.1:{port}{_PATH.format(number)}"
        while True:
            async with session.get(url) as response:
                body = json.loads(await response.read())
            assert body["job_status_report"]["status"] == "RUNNING"
            await asyncio.sleep(pause)

    return wait


def ideal(port: int, pause: float) -> Waiter:
    """A bare BaseTrigger on one shared session: no errors, no retries, no log, no deadline, no connection."""
    from aiohttp import ClientSession, TCPConnector
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    session = ClientSession(connector=TCPConnector(limit=CONNECTIONS), headers=_HEADERS)

    class IdealTrigger(BaseTrigger):
        def __init__(self, url: str, poll_interval: float) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.url = url
            self.poll_interval = poll_interval

        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "IdealTrigger", {"url": self.url, "poll_interval": self.poll_interval}

        async def run(self) -> Any:
            while True:
                async with session.get(self.url) as response:
                    response.raise_for_status()
                    job = await response.json()
                if job["job_status_report"]["status"] in ("DONE", "FAILED", "CANCELLED"):
                    yield TriggerEvent(job)
                    return
                await asyncio.sleep(self.poll_interval)

    def trigger(number: int) -> IdealTrigger:
        return IdealTrigger(f"http://127.0.0.1:{port}{_PATH.format(number)}", pause)

    return _events(trigger)


def kumo(port: int, pause: float) -> Waiter:
    """Our trigger, as Airflow's triggerer makes it."""
    from airflow_provider_kumo.triggers.kumo import KumoJobTrigger

    host = f"http://127.0.0.1:{port}/api"
    _connection("KUMO_DEFAULT", {"conn_type": "kumo", "host": host, "password": "bench:secret"})

    def trigger(number: int) -> KumoJobTrigger:
        return KumoJobTrigger(
            kumo_conn_id="kumo_default",
            job_id=_PATH.format(number).rpartition("/")[2],
            job_kind="training",
            poll_interval=max(pause, 1e-9),
            deadline=_FAR,
            cancel_on_kill=True,
        )

    return _events(trigger)


def databricks(port: int, pause: float) -> Waiter:
    """``DatabricksExecutionTrigger``. Nothing patched: its connection takes plain http and a port."""
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    connection = {"conn_type": "databricks", "host": "127.0.0.1", "port": port, "schema": "http", "password": "t"}
    _connection("DATABRICKS_DEFAULT", connection)
    return _events(
        lambda number: DatabricksExecutionTrigger(
            run_id=number, databricks_conn_id="databricks_default", polling_period_seconds=pause
        )
    )


def dbt_cloud(port: int, pause: float) -> Waiter:
    """``DbtCloudRunJobTrigger``. Patched: the scheme of its URLs, which is https whatever the connection says."""
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    made = DbtCloudHook.get_request_url_params

    def over_http(*args: Any, **keywords: Any) -> tuple[str, dict[str, Any]]:
        url, query = made(*args, **keywords)
        return url.replace("https:", "http:", 1), query

    DbtCloudHook.get_request_url_params = staticmethod(over_http)
    _connection("DBT", {"conn_type": "dbt_cloud", "host": f"127.0.0.1:{port}", "login": "1", "password": "t"})
    return _events(
        lambda number: DbtCloudRunJobTrigger(
            conn_id="dbt", run_id=number, end_time=_FAR, poll_interval=pause, account_id=1
        )
    )


def fivetran(port: int, pause: float) -> Waiter:
    """``FivetranTrigger``. Patched: scheme and host of its hook, which are constants of the class."""
    import pendulum
    from fivetran_provider_async.hooks import FivetranHookAsync
    from fivetran_provider_async.triggers import FivetranTrigger

    FivetranHookAsync.api_protocol, FivetranHookAsync.api_host = "http", f"127.0.0.1:{port}"
    _connection("FIVETRAN_DEFAULT", {"conn_type": "fivetran", "login": "k", "password": "s"})
    return _events(
        lambda number: FivetranTrigger(
            task_id="sync",
            connector_id=f"connector{number}",
            fivetran_conn_id="fivetran_default",
            previous_completed_at=pendulum.now(),
            poke_interval=pause,
        )
    )


def airbyte(port: int, pause: float) -> Waiter:
    """``AirbyteSyncTrigger``. Nothing patched: its connection takes a URL."""
    from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger

    _connection("AIRBYTE", {"conn_type": "airbyte", "host": f"http://127.0.0.1:{port}"})
    return _events(
        lambda number: AirbyteSyncTrigger(job_id=number, conn_id="airbyte", end_time=_FAR, poll_interval=pause)
    )


def _events(make: Callable[[int], Any]) -> Waiter:
    async def wait(number: int) -> None:
        async for event in make(number).run():
            raise RuntimeError(f"this trigger was to wait for ever: {event}")

    return wait


def _connection(name: str, connection: dict[str, Any]) -> None:
    os.environ[f"AIRFLOW_CONN_{name}"] = json.dumps(connection)


CONTESTANTS: dict[str, Callable[[int, float], Waiter]] = {
    "raw asyncio streams": streams,
    "raw aiohttp": aiohttp,
    "ideal trigger": ideal,
    "kumo": kumo,
    "databricks": databricks,
    "fivetran-async": fivetran,
    "dbt-cloud": dbt_cloud,
    "airbyte": airbyte,
}
