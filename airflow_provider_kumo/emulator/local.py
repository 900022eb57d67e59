"""A local Kumo inside a Python program: for tests, and for trying things out."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from math import inf
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiohttp import web

from airflow_provider_kumo.emulator import seeds
from airflow_provider_kumo.emulator.app import make_app
from airflow_provider_kumo.emulator.control import Control, SeenJob
from airflow_provider_kumo.emulator.faults import FaultList
from airflow_provider_kumo.emulator.store import DEFAULT_KEY, SeenRequest, Settings, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

#: Seconds the server is given to start, and to stop.
_PATIENCE = 10.0


def connection_of(origin: str, key: str, *, poll_interval: float, rbac: bool = False) -> dict[str, Any]:
    """Build the Airflow connection of a local Kumo.

    :param origin: scheme, host and port of the server.
    :param key: the API key.
    :param poll_interval: seconds between two looks at a job.
    :param rbac: whether a group and a project are needed.
    :returns: the connection, as Airflow reads it from JSON.
    """
    extra: dict[str, Any] = {"poll_interval": poll_interval}
    if rbac:
        extra |= {"group_id": "g1", "project_id": "p1"}
    return {"conn_type": "kumo", "host": f"{origin}/api", "password": key, "extra": extra}


class LocalKumo:
    """A local Kumo in a background thread, on a free port of the loopback interface.

    Use it as a context manager. All methods may be called from any thread::

        with LocalKumo(speed=6000) as kumo:
            print(kumo.url, kumo.api_key)

    :param speed: virtual seconds that pass in one second of wall clock.
    :param seed: where ids, durations and scores are drawn from.
    :param rbac: whether group and project are required.
    :param key: the API key.
    :param port: the port; 0 takes a free one.
    :param clock: returns the wall-clock time in epoch seconds.
    """

    def __init__(
        self,
        *,
        speed: float = 6000.0,
        seed: int = 0,
        rbac: bool = False,
        key: str = DEFAULT_KEY,
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = Store(Settings(speed=speed, seed=seed, rbac=rbac, key=key), clock=clock)
        seeds.seed(self._store)
        self._faults = FaultList()
        self._control = Control(self._store, self._faults)
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None
        self._changed = threading.Condition()
        self._changes = 0
        self._store.subscribe(self._notice)

    # -- life ------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the server.

        :returns: itself.
        :raises OSError: if the port is in use.
        :raises RuntimeError: if it runs already.
        """
        if self._thread is not None:
            raise RuntimeError("This local Kumo runs already.")
        ready: list[BaseException | None] = []
        started = threading.Event()

        def run() -> None:
            try:
                asyncio.run(self._serve(started))
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                ready.append(error)
            finally:
                started.set()

        self._thread = threading.Thread(target=run, name="local-kumo", daemon=True)
        self._thread.start()
        if not started.wait(_PATIENCE):
            raise RuntimeError("The local Kumo did not start in time.")
        if ready and ready[0] is not None:
            self._thread = None
            raise ready[0]
        return self

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = make_app(self._store, fault_list=self._faults)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port)
            await site.start()
            host, port = runner.addresses[0][:2]
            self._store.origin = f"http://{host}:{port}"
            started.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    def stop(self) -> None:
        """Stop the server; does nothing if it does not run."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(_PATIENCE)
        self._loop = None

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    # -- where it is -----------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self._store.origin

    @property
    def url(self) -> str:
        """The base URL of the API, as a Kumo client wants it."""
        return f"{self._store.origin}/api"

    @property
    def api_key(self) -> str:
        """The API key that is valid now."""
        return self._store.key

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to this Kumo."""
        return connection_of(self.origin, self.api_key, poll_interval=0.2, rbac=self._store.settings.rbac)

    @property
    def connection_json(self) -> str:
        """The Airflow connection as the JSON that an environment variable holds."""
        return json.dumps(self.connection)

    # -- the control door --------------------------------------------------------------------

    def _call(self, action: Callable[[], T]) -> T:
        """Run an action in the thread that owns the state."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("This local Kumo does not run.")

        async def run() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), loop).result(_PATIENCE)

    def add_query(self, name: str, **options: Any) -> str:
        """Add a predictive query; see :meth:`Control.add_query`.

        :param name: its name.
        :param options: ``query_string``, ``entities``, ``connector``.
        :returns: the id of the query.
        """
        return self._call(lambda: self._control.add_query(name, **options))

    def add_past_jobs(
        self,
        query: str,
        count: int,
        *,
        kind: str = "training",
        days: float = 90.0,
        tags: dict[str, str] | None = None,
    ) -> list[str]:
        """Add jobs that were done in the past; see :meth:`Control.add_past_jobs`.

        :param query: name or id of the predictive query.
        :param count: how many.
        :param kind: ``training`` or ``prediction``.
        :param days: over how many days before now.
        :param tags: custom tags of all of them.
        :returns: the ids of the jobs, oldest first.
        """
        return self._call(lambda: self._control.add_past_jobs(query, count, kind=kind, days=days, tags=tags))

    def fail_next(
        self,
        kind: str = "training",
        *,
        title: str = "Training table is empty",
        message: str = "No training examples were generated; check the time range of the query.",
        stage: str | None = None,
        count: int = 1,
    ) -> None:
        """Make the next jobs of a kind fail.

        :param kind: the kind of job.
        :param title: title of the error.
        :param message: text of the error.
        :param stage: in the middle of which stage; ``None`` takes the main one.
        :param count: how many jobs.
        """
        self._call(lambda: self._control.fail_next(kind, title=title, message=message, stage=stage, count=count))

    def reject_next(
        self,
        *,
        title: str = "Invalid output",
        message: str = "The output of the batch prediction cannot be written.",
        count: int = 1,
    ) -> None:
        """Make the next batch predictions be rejected when they are submitted.

        :param title: title of the error.
        :param message: text of the error.
        :param count: how many.
        """
        self._call(lambda: self._control.reject_next(title=title, message=message, count=count))

    def hold(self, job_id: str | None = None, *, kind: str | None = None, count: int | None = None) -> None:
        """Keep a job RUNNING until it is released, or let jobs to come start that way.

        :param job_id: the job; ``None`` for jobs to come.
        :param kind: only jobs of this kind, when no job is named.
        :param count: how many jobs of each kind; ``None`` for all.
        """
        self._call(lambda: self._control.hold(job_id, kind=kind, count=count))

    def release(self, job_id: str | None = None) -> None:
        """Let a held job go on.

        :param job_id: the job; ``None`` for all, and no new job is held either.
        """
        self._call(lambda: self._control.release(job_id))

    def cancel(self, job_id: str) -> bool:
        """Cancel a job as a person in Kumo's UI would.

        :param job_id: the job.
        :returns: false if it had already ended.
        """
        return self._call(lambda: self._control.cancel(job_id))

    def vanish(self, job_id: str) -> None:
        """Make a job disappear: 404, and in no list.

        :param job_id: the job.
        """
        self._call(lambda: self._control.vanish(job_id))

    def finish(self, job_id: str) -> None:
        """Make a job DONE now.

        :param job_id: the job.
        """
        self._call(lambda: self._control.finish(job_id))

    def fail(
        self,
        job_id: str,
        *,
        title: str = "Internal error",
        message: str = "The job was stopped by an internal error.",
    ) -> None:
        """Make a job FAILED now.

        :param job_id: the job.
        :param title: title of the error.
        :param message: text of the error.
        """
        self._call(lambda: self._control.fail(job_id, title=title, message=message))

    def advance(self, job_id: str, seconds: float) -> None:
        """Jump ahead on the timeline of a job.

        :param job_id: the job.
        :param seconds: how far, in virtual seconds.
        """
        self._call(lambda: self._control.advance(job_id, seconds))

    def rotate_key(self, key: str | None = None) -> str:
        """Replace the API key; the old one is invalid at once.

        :param key: the new key; ``None`` makes one up.
        :returns: the new key.
        """
        return self._call(lambda: self._control.rotate_key(key))

    def set_list(self, *, order: str | None = None, cap: int | None = None) -> None:
        """Decide how lists of jobs are ordered and cut.

        :param order: ``newest`` or ``oldest`` first, or ``unordered``; ``None`` means ``newest``.
        :param cap: at most this many jobs, whatever limit is asked for.
        """
        self._call(lambda: self._control.set_list(order=order, cap=cap))

    def inject(
        self,
        kind: str,
        *,
        method: str | None = None,
        path: str | None = None,
        count: int | None = 1,
        **options: Any,
    ) -> None:
        """Inject a fault; see :class:`airflow_provider_kumo.emulator.faults.Fault`.

        :param kind: one of :data:`airflow_provider_kumo.emulator.faults.KINDS`.
        :param method: only requests of this method.
        :param path: only requests in whose path this regular expression is found.
        :param count: how many requests; ``None`` for all until the faults are cleared.
        :param options: ``after``, ``status``, ``body``, ``headers``, ``seconds``, ``size``, ``location``.
        """
        self._call(lambda: self._control.inject(kind, method=method, path=path, count=count, **options))

    def clear_faults(self) -> None:
        """Forget the faults that are left."""
        self._call(self._control.clear_faults)

    @property
    def requests(self) -> list[SeenRequest]:
        """The requests seen, oldest first, without their credentials."""
        return self._call(self._control.requests)

    def clear_requests(self) -> None:
        """Forget the requests seen so far."""
        self._call(self._control.clear_requests)

    def jobs(self, kind: str | None = None) -> list[SeenJob]:
        """Return the jobs, in the order of their creation.

        :param kind: only jobs of this kind.
        :returns: the jobs, those that vanished among them.
        """
        return self._call(lambda: self._control.jobs(kind))

    def job(self, job_id: str) -> SeenJob:
        """Return one job.

        :param job_id: its id.
        :returns: the job, also one that vanished.
        """
        return self._call(lambda: self._control.job(job_id))

    def reset(self) -> None:
        """Go back to the beginning: seeds, first key, no faults, no requests."""
        self._call(self._control.reset)

    # -- waiting -----------------------------------------------------------------------------

    def _notice(self, _state_changed: bool) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout: float = 5.0) -> None:
        """Wait until something is true, looking whenever a request or a change has been seen.

        :param predicate: what to wait for; it may call the methods of this object.
        :param timeout: seconds to wait at most.
        :raises TimeoutError: if it does not become true in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                before = self._changes
            if predicate():
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"Nothing like that happened within {timeout:g} seconds.")
            # A job also changes by itself, without a request: then it is time to look again.
            by_itself = self._call(self._store.next_change)
            if by_itself < inf:
                left = min(left, max(0.001, by_itself - self._store.clock()))
            with self._changed:
                if self._changes == before:
                    self._changed.wait(left)
