"""The state of the emulator: queries, graphs, jobs, the key, and what has been asked of it.

A store belongs to one event loop and is not locked; threads reach it through
:class:`airflow_provider_kumo.emulator.local.LocalKumo`.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from airflow_provider_kumo.emulator import lifecycle
from airflow_provider_kumo.emulator.records import (
    ID_PREFIX,
    Failure,
    GraphRecord,
    JobRecord,
    Kind,
    QueryRecord,
    SnapshotRecord,
)
from airflow_provider_kumo.emulator.slots import PARALLEL, QUEUED, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_kumo.emulator.lifecycle import JobView

#: The key of a local Kumo unless another is given. It guards nothing worth guarding.
DEFAULT_KEY = "local:kumo"

DEFAULT_GROUP = "g1"
DEFAULT_PROJECT = "p1"

#: How many requests are remembered.
REQUESTS_KEPT = 10_000

#: Virtual seconds that the ingestion of a graph snapshot takes.
INGEST_SECONDS = 300.0

LIST_ORDERS = ("newest", "oldest", "unordered")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is decided when an emulator starts.

    :param speed: virtual seconds that pass in one second of wall clock.
    :param seed: where ids, durations and scores are drawn from.
    :param rbac: whether group and project are required.
    :param key: the API key.
    """

    speed: float = 600.0
    seed: int = 0
    rbac: bool = False
    key: str = DEFAULT_KEY

    def __post_init__(self) -> None:
        """Check the values.

        :raises ValueError: if one of them makes no sense.
        """
        if not 0 < self.speed < inf:
            raise ValueError("speed must be a number above 0")
        if not self.key or not self.key.isascii() or not self.key.isprintable():
            raise ValueError("the key must be printable ASCII text")


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as the emulator saw it, without its credentials."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    time: float
    headers: dict[str, str]
    fault: str | None = None


class TooManyJobs(Exception):
    """There is no room for one more job."""


@dataclass(slots=True)
class ListRule:
    """How lists of jobs are ordered and cut."""

    order: str = "newest"
    cap: int | None = None


@dataclass(slots=True)
class Plans:
    """What has been arranged for jobs that do not exist yet; each is used up once."""

    failures: dict[Kind, deque[Failure]] = field(default_factory=dict)
    rejections: deque[tuple[str, str]] = field(default_factory=deque)
    #: How many of the next jobs of a kind start held.
    holds: dict[Kind, float] = field(default_factory=dict)


class Store:
    """Everything the emulator knows.

    :param settings: speed, seed, key and RBAC.
    :param clock: returns the wall-clock time in epoch seconds.
    """

    def __init__(self, settings: Settings | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings or Settings()
        self.clock = clock
        self.origin = "http://127.0.0.1"
        self.key = self.settings.key
        self.groups: dict[str, str] = {DEFAULT_GROUP: "Data science"}
        self.projects: dict[str, tuple[str, str]] = {
            DEFAULT_PROJECT: (DEFAULT_GROUP, "Default"),
            "p2": (DEFAULT_GROUP, "Sandbox"),
        }
        self.requests: deque[SeenRequest] = deque(maxlen=REQUESTS_KEPT)
        self._listeners: list[Callable[[bool], None]] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything but the settings, the key and the requests."""
        self.connectors: dict[str, dict[str, Any]] = {}
        self.queries: dict[str, QueryRecord] = {}
        self.graphs: dict[str, GraphRecord] = {}
        self.snapshots: dict[str, SnapshotRecord] = {}
        self.jobs: dict[str, JobRecord] = {}
        self.counter = 0
        self.slots = Slots(parallel=PARALLEL, queued=QUEUED)
        self.list_rule = ListRule()
        self.plans = Plans()
        self._views: dict[str, tuple[int, JobView]] = {}
        self._bodies: dict[str, tuple[int, float, bytes]] = {}

    # -- change ---------------------------------------------------------------------------

    def subscribe(self, listener: Callable[[bool], None]) -> None:
        """Ask to be told of changes.

        :param listener: called with true when the state changed, false when a request was seen.
        """
        self._listeners.append(listener)

    def changed(self, *records: JobRecord) -> None:
        """Say that the state has changed.

        :param records: the jobs that did.
        """
        for record in records:
            record.revision += 1
        self.slots.recheck()
        self.slots.settle(self.clock())
        for listener in self._listeners:
            listener(True)

    def note_request(self, seen: SeenRequest) -> None:
        """Remember a request.

        :param seen: the request.
        """
        self.requests.append(seen)
        for listener in self._listeners:
            listener(False)

    def new_id(self, prefix: str) -> tuple[str, int]:
        """Make an id from the seed and a counter.

        :param prefix: what the id starts with.
        :returns: the id and its number.
        """
        self.counter += 1
        digest = hashlib.sha256(f"{self.settings.seed}/{prefix}/{self.counter}".encode()).hexdigest()
        return f"{prefix}-{digest[:16]}", self.counter

    # -- queries and graphs ---------------------------------------------------------------

    def query(self, name_or_id: str) -> QueryRecord | None:
        """Find a predictive query.

        :param name_or_id: its name or its id.
        :returns: the query, or ``None``.
        """
        found = self.queries.get(name_or_id)
        if found is None:
            found = next((query for query in self.queries.values() if query.name == name_or_id), None)
        return found

    def save_query(self, query: QueryRecord) -> None:
        """Add a predictive query, or replace the one of the same id.

        :param query: the query.
        """
        self.queries[query.id] = query
        self.changed()

    def save_graph(self, graph: dict[str, Any], *, name_alias: str | None = None) -> GraphRecord:
        """Add a graph; the same content always has the same id.

        :param graph: the definition as JSON.
        :param name_alias: another name for it.
        :returns: the graph.
        """
        digest = hashlib.sha256(repr(_sorted(graph)).encode("utf-8", "backslashreplace")).hexdigest()
        record = GraphRecord(f"graph-{digest[:16]}", graph, name_alias)
        known = self.graphs.get(record.id)
        if known is not None and name_alias is None:
            return known
        self.graphs[record.id] = record
        self.changed()
        return record

    def graph(self, name_or_id: str) -> GraphRecord | None:
        """Find a graph.

        :param name_or_id: its id or its alias.
        :returns: the graph, or ``None``.
        """
        found = self.graphs.get(name_or_id)
        if found is None:
            found = next((graph for graph in self.graphs.values() if graph.name_alias == name_or_id), None)
        return found

    def take_snapshot(self, graph: GraphRecord, *, refresh: bool) -> SnapshotRecord:
        """Start to ingest a graph.

        :param graph: the graph.
        :param refresh: read the source again, even if there is a snapshot already.
        :returns: the new snapshot, or the newest one.
        """
        if not refresh:
            known = [snap for snap in self.snapshots.values() if snap.graph_id == graph.id]
            if known:
                return max(known, key=lambda snap: snap.created_at)
        now = self.clock()
        version = self.new_id("version")[0].removeprefix("version-")
        record = SnapshotRecord(
            id=f"{graph.id}@{version}",
            graph_id=graph.id,
            created_at=now,
            done_at=now + INGEST_SECONDS / self.settings.speed,
            table_ids={name: f"{graph.id}.{name}@{version}" for name in graph.graph["tables"]},
            graph_name=graph.name_alias,
        )
        self.snapshots[record.id] = record
        self.changed()
        return record

    # -- jobs -----------------------------------------------------------------------------

    def submit(
        self,
        kind: Kind,
        *,
        query: QueryRecord,
        config: dict[str, Any],
        system_tags: dict[str, str],
        project_id: str | None = None,
        started_by: str = "",
        source: str = "REST",
        experiments: int = 4,
        not_before: float = 0.0,
    ) -> JobRecord:
        """Take in a new job.

        :param kind: what it does.
        :param query: the predictive query it belongs to.
        :param config: the request, normalised by the schema.
        :param system_tags: tags that Kumo sets; they win over those of the request.
        :param project_id: the project, when RBAC is on.
        :param started_by: who asked for it.
        :param source: ``REST`` or ``SDK``.
        :param experiments: how many experiments a training job makes.
        :param not_before: the job waits for something until then.
        :returns: the job.
        :raises TooManyJobs: if ten run and fifteen wait.
        """
        now = self.clock()
        if not self.slots.admits(now):
            raise TooManyJobs
        record = self.new_job(
            kind,
            query=query,
            config=config,
            system_tags=system_tags,
            created_at=now,
            speed=self.settings.speed,
        )
        record.project_id = project_id
        record.started_by = started_by
        record.source = source
        record.experiments = experiments
        record.not_before = not_before
        self._apply_plans(record)
        self.jobs[record.id] = record
        self.slots.add(record)
        self.changed(record)
        return record

    def new_job(
        self,
        kind: Kind,
        *,
        query: QueryRecord,
        config: dict[str, Any],
        system_tags: dict[str, str],
        created_at: float,
        speed: float,
    ) -> JobRecord:
        """Make the record of a job, without taking it in.

        :param kind: what it does.
        :param query: the predictive query it belongs to.
        :param config: the request, normalised by the schema.
        :param system_tags: tags that Kumo sets.
        :param created_at: when it was created.
        :param speed: how fast it goes.
        :returns: the record.
        """
        job_id, number = self.new_id(ID_PREFIX[kind])
        wobble = random.Random(job_id).uniform(0.97, 1.03)  # noqa: S311 - a plausible count
        return JobRecord(
            id=job_id,
            kind=kind,
            number=number,
            seed=job_id,
            created_at=created_at,
            speed=speed,
            pquery_id=query.id,
            pquery_name=query.name,
            task=query.task,
            entities=int(query.entities * wobble),
            config=config,
            tags={**config["job_tags"], **system_tags},
            tables=len(query.graph["tables"]),
        )

    def adopt(self, records: Iterable[JobRecord], *, since: float | None = None) -> None:
        """Take in jobs that exist already: past ones, or those of a state file.

        :param records: the jobs.
        :param since: when they were last seen; those that have ended since then had a slot,
            in which others may have followed them. ``None`` means now.
        """
        since = self.clock() if since is None else since
        for record in records:
            self.jobs[record.id] = record
            if lifecycle.end_at(record) > since:
                self.slots.add(record)
        self.changed()

    def _apply_plans(self, record: JobRecord) -> None:
        planned = self.plans.failures.get(record.kind)
        if planned:
            record.will_fail = planned.popleft()
        left = self.plans.holds.get(record.kind, 0)
        if left > 0:
            record.held = True
            self.plans.holds[record.kind] = left - 1

    def job(self, job_id: str, *, kind: Kind | None = None, project_id: str | None = None) -> JobRecord | None:
        """Find a job.

        :param job_id: its id.
        :param kind: refuse jobs of another kind.
        :param project_id: refuse jobs of another project.
        :returns: the job, or ``None`` also if it has vanished.
        """
        record = self.jobs.get(job_id)
        if record is None or record.vanished or (kind is not None and record.kind is not kind):
            return None
        return record if project_id is None or record.project_id == project_id else None

    def view(self, record: JobRecord) -> JobView:
        """Tell what a job looks like now.

        :param record: the job.
        :returns: its visible state.
        """
        now = self.clock()
        self.slots.settle(now)
        known = self._views.get(record.id)
        if known is not None and known[0] == record.revision and now < known[1].valid_until:
            return known[1]
        seen = lifecycle.view(record, now)
        self._views[record.id] = (record.revision, seen)
        return seen

    def body(self, record: JobRecord, serialise: Callable[[JobRecord, JobView], bytes]) -> bytes:
        """Return the serialised job, made anew only when it looks different from last time.

        :param record: the job.
        :param serialise: makes the body.
        :returns: the bytes.
        """
        now = self.clock()
        self.slots.settle(now)
        known = self._bodies.get(record.id)
        if known is not None and known[0] == record.revision and now < known[1]:
            return known[2]
        seen = self.view(record)
        made = serialise(record, seen)
        self._bodies[record.id] = (record.revision, seen.valid_until, made)
        return made

    def next_change(self) -> float:
        """Tell when the visible state of some job changes by itself.

        :returns: wall-clock time; infinite when all jobs have ended or wait to be released.
        """
        live = (self.view(record) for record in self.jobs.values())
        return min((seen.valid_until for seen in live), default=inf)

    def listed(
        self,
        kind: Kind,
        *,
        tags: dict[str, str],
        status: str | None = None,
        project_id: str | None = None,
        limit: int | None = None,
    ) -> list[JobRecord]:
        """List jobs.

        :param kind: of this kind.
        :param tags: having all of these tags.
        :param status: having this status.
        :param project_id: belonging to this project.
        :param limit: at most this many.
        :returns: the jobs, ordered and cut by :attr:`list_rule`.
        """
        found = [
            record
            for record in self.jobs.values()
            if record.kind is kind
            and not record.vanished
            and (project_id is None or record.project_id == project_id)
            and all(record.tags.get(key) == value for key, value in tags.items())
            and (status is None or self.view(record).status == status)
        ]
        if self.list_rule.order == "unordered":
            found.sort(key=lambda record: hashlib.sha256(record.id.encode()).digest())
        else:
            found.sort(
                key=lambda record: (record.created_at, record.number),
                reverse=self.list_rule.order == "newest",
            )
        cuts = [cut for cut in (limit, self.list_rule.cap) if cut is not None]
        return found[: min(cuts)] if cuts else found


def _sorted(value: Any) -> Any:
    """Return a JSON value with the keys of its objects in order."""
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value
