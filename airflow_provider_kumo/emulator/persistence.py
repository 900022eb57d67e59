"""The state file: what survives a restart, written so that a crash cannot tear it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
import threading
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_kumo.emulator.records import (
    Failure,
    GraphRecord,
    JobRecord,
    Kind,
    QueryRecord,
    SnapshotRecord,
    Verdict,
)

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Grows when the format changes in a way that an older emulator would misread.
VERSION = 1

#: Seconds that changes are gathered before they are written.
_PAUSE = 0.2


class BadState(Exception):
    """A state file cannot be used; the message says which one, and why."""


def load(store: Store, path: Path) -> bool:
    """Fill an empty store from a state file.

    :param store: the store.
    :param path: the file.
    :returns: false if there is no such file.
    :raises BadState: if the file cannot be read or understood.
    """
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        if path.parent.is_dir():
            return False
        raise BadState(f"cannot keep the state file {path}: there is no such directory") from None
    except (OSError, ValueError) as error:
        raise BadState(f"cannot read the state file {path}: {error}") from None
    try:
        _fill(store, json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        store.clear()
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise BadState(f"the state file {path} cannot be understood: {why}") from None
    return True


def _fill(store: Store, state: dict[str, Any]) -> None:
    if not isinstance(state, dict):
        raise ValueError("it is not a JSON object")
    if state["version"] != VERSION:
        raise ValueError(f"its version is {state['version']}, this emulator reads {VERSION}")
    store.key = state["key"]
    store.counter = state["counter"]
    store.connectors.update(state["connectors"])
    store.queries.update({item["id"]: _record(QueryRecord, item) for item in state["queries"]})
    store.graphs.update({item["id"]: _record(GraphRecord, item) for item in state["graphs"]})
    store.snapshots.update({item["id"]: _record(SnapshotRecord, item) for item in state["snapshots"]})
    store.adopt([_job(item, state["configs"]) for item in state["jobs"]], since=state["saved_at"])


def _record(kind: type[T], item: dict[str, Any]) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in item.items() if key in known})


def _job(item: dict[str, Any], configs: list[dict[str, Any]]) -> JobRecord:
    verdict, failure = item["verdict"], item["will_fail"]
    if verdict is not None:
        cause = verdict["failure"]
        verdict = Verdict(verdict["status"], verdict["at"], _record(Failure, cause) if cause else None)
    return _record(
        JobRecord,
        {
            **item,
            "kind": Kind(item["kind"]),
            "config": configs[item["config"]],
            "advances": [(at, amount) for at, amount in item["advances"]],
            "verdict": verdict,
            "will_fail": _record(Failure, failure) if failure else None,
        },
    )


def dump(store: Store) -> dict[str, Any]:
    """Turn a store into JSON.

    :param store: the store.
    :returns: the JSON value; it shares nothing with the store that will change.
    """
    # Thousands of past jobs share one config: it is written once.
    configs: dict[int, tuple[int, dict[str, Any]]] = {}
    jobs = []
    for record in store.jobs.values():
        number, _ = configs.setdefault(id(record.config), (len(configs), record.config))
        jobs.append({**_flat(record), "config": number})
    return {
        "version": VERSION,
        "saved_at": store.clock(),
        "key": store.key,
        "counter": store.counter,
        "connectors": dict(store.connectors),
        "queries": [_flat(query) for query in store.queries.values()],
        "graphs": [_flat(graph) for graph in store.graphs.values()],
        "snapshots": [_flat(snapshot) for snapshot in store.snapshots.values()],
        "jobs": jobs,
        "configs": [config for _, config in configs.values()],
    }


def _flat(record: Any) -> dict[str, Any]:
    """Return the fields of a record; the few that are records themselves as dictionaries."""
    flat = {field.name: getattr(record, field.name) for field in fields(record)}
    for name in ("verdict", "will_fail"):
        if flat.get(name) is not None:
            flat[name] = asdict(flat[name])
    return flat


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state file: beside the old one first, then in its place.

    :param state: what :func:`dump` returned.
    :param path: the file.
    :raises OSError: if it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Keeper:
    """Writes the state file soon after each change.

    :param store: the state.
    :param path: the file.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._writing = threading.Lock()
        self._dumped = 0
        self._written = 0
        store.subscribe(self._notice)

    def _notice(self, state_changed: bool) -> None:
        if state_changed:
            self._dirty.set()

    def start(self) -> None:
        """Begin to watch for changes."""
        self._dirty.set()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Write what is left, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._write(*self._dump())

    async def _watch(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_PAUSE)
            self._dirty.clear()
            await asyncio.to_thread(self._write, *self._dump())

    def _dump(self) -> tuple[int, dict[str, Any]]:
        self._dumped += 1
        return self._dumped, dump(self._store)

    def _write(self, number: int, state: dict[str, Any]) -> None:
        """Write a state, unless a later one has been written: a cancelled task leaves its thread behind."""
        with self._writing:
            if number < self._written:
                return
            self._written = number
            try:
                save(state, self._path)
            except OSError as error:
                log.warning("cannot write the state file %s: %s", self._path, error)
