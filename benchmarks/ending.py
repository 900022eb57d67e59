"""Our trigger, ending its task by itself; the jobs that it waits for; and a server that says when they have ended."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from airflow.triggers.base import TaskFailedEvent, TaskSuccessEvent

from airflow_provider_kumo.triggers.kumo import KumoJobTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LATENCY = 0.020
_PATH = re.compile(r"/(?P<who>[^/]+)/api/v1/training_jobs/trainingjob-(?P<number>\d+)(?P<progress>/progress)?")


class EndingTrigger(KumoJobTrigger):
    """Waits as the provider's trigger does, and then ends the task without a worker."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on waiting."""
        return "benchmarks.ending.EndingTrigger", super().serialize()[1]

    async def run(self) -> AsyncIterator[Any]:
        """Wait for the job and end the task."""
        async for event in super().run():
            yield TaskSuccessEvent() if event.payload["outcome"] == "ended" else TaskFailedEvent()


class EndingJobs:
    """A server on loopback, in a thread, whose jobs run until they are told to end. Use as a context manager.

    The first part of a path says who asks: each triggerer has a base URL of its own.

    :param count: how many jobs there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.port = 0
        #: Answers by who asked.
        self.polls: Counter[str] = Counter()
        #: Who looked last at each job, and when, by a monotonic clock.
        self.last_look: dict[int, tuple[str, float]] = {}
        #: How often the end of each job was told.
        self.ends_told: Counter[int] = Counter()
        self._ends_from: float | None = None
        self._ends_over = 1.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def end_all(self, *, over: float) -> None:
        """Have the jobs end one after another, from now on and over so many seconds."""
        self._ends_over, self._ends_from = over, time.time()

    def end_of(self, number: int) -> float | None:
        """Return when a job ends, in POSIX time."""
        return None if self._ends_from is None else self._ends_from + self._ends_over * number / self.count

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(LATENCY)
                body = json.dumps(self._answer(head.split(b" ", 2)[1].decode())).encode()
                start = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(start.encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, path: str) -> dict[str, Any]:
        asked = _PATH.fullmatch(path)
        assert asked, path
        if asked["progress"]:
            return {}
        number, end = int(asked["number"]), self.end_of(int(asked["number"]))
        self.polls[asked["who"]] += 1
        self.last_look[number] = (asked["who"], time.monotonic())
        has_ended = end is not None and time.time() >= end
        self.ends_told[number] += has_ended
        return {
            "job_id": f"trainingjob-{number:04}",
            "job_status_report": {"status": "DONE" if has_ended else "RUNNING", "start_time": "2026-01-01T00:00:00Z"},
            "created_at": "2026-01-01T00:00:00Z",
        }
