"""The control door: what happens to jobs, keys and connections, decided from outside.

Every action is a method of :class:`Control`; over HTTP the same actions are reached below
``/_emulator``, from the loopback interface only and without a key. Bodies and answers are JSON.

============================  =====================================================================
``GET  /_emulator``           what there is: settings, counts, queries, faults left
``POST /_emulator/query``     ``{name, query_string?, entities?, connector?}``: add a query
``POST /_emulator/past_jobs``  ``{query, count, kind?, days?, tags?}``: jobs done in the past
``POST /_emulator/fail_next``  ``{kind?, title?, message?, stage?, count?}``: the next jobs fail
``POST /_emulator/reject_next``  ``{title?, message?, count?}``: the next predictions are rejected
``POST /_emulator/hold``      ``{job_id}`` or ``{kind?, count?}``: stay RUNNING until released
``POST /_emulator/release``   ``{job_id?}``: release one held job, or all, and hold no new ones
``POST /_emulator/cancel``    ``{job_id}``: cancel as a person in Kumo's UI would
``POST /_emulator/vanish``    ``{job_id}``: the job is gone: 404, and in no list
``POST /_emulator/finish``    ``{job_id}``: the job is DONE now
``POST /_emulator/fail``      ``{job_id, title?, message?}``: the job is FAILED now
``POST /_emulator/advance``   ``{job_id, seconds}``: jump ahead, in virtual seconds
``POST /_emulator/rotate_key``  ``{key?}``: the old key is invalid at once; answers the new one
``POST /_emulator/list``      ``{order?, cap?}``: how lists of jobs are ordered and cut
``POST /_emulator/faults``    a fault (see ``faults.py``), or a list of them: inject
``DELETE /_emulator/faults``  forget the faults that are left
``GET  /_emulator/requests``  the requests seen, oldest first
``DELETE /_emulator/requests``  forget them
``GET  /_emulator/jobs``      the jobs: who started what, with which tags (``?kind=``)
``POST /_emulator/reset``     back to the beginning: seeds, first key, no faults, no requests
============================  =====================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import TypeAdapter, validate_call
from pydantic import ValidationError as SchemaError

from airflow_provider_kumo.emulator import lifecycle, seeds, wire
from airflow_provider_kumo.emulator.api import cancel, check_tags
from airflow_provider_kumo.emulator.context import FAULTS, STORE, answer
from airflow_provider_kumo.emulator.faults import Fault, FaultList, Handler
from airflow_provider_kumo.emulator.records import Failure, JobRecord, Kind, QueryRecord, Verdict
from airflow_provider_kumo.emulator.store import LIST_ORDERS, SeenRequest, Store
from airflow_provider_kumo.emulator.wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

#: More past jobs than one request should make.
MOST_PAST_JOBS = 100_000

#: More failures, rejections or held jobs than anybody plans ahead.
MOST_PLANNED = 10_000

_FAULT = TypeAdapter(Fault)


class NoSuchJob(LookupError):
    """There is no job of that id."""


class WrongState(RuntimeError):
    """The job is not in a state in which this can be done."""


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A job as the emulator knows it, for a test to look at.

    ``started_by`` is the User-Agent of the request, or ``past`` for a job that was seeded.
    """

    id: str
    kind: str
    status: str
    pquery_name: str
    project_id: str | None
    tags: dict[str, str]
    config: dict[str, Any]
    created_at: float
    started_by: str
    held: bool
    cancelled_by: str | None
    vanished: bool


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise Invalid(f"{name} must be from {least} to {most}.")


class Control:
    """The actions of the control door.

    :param store: the state.
    :param faults: the faults to inject.
    """

    def __init__(self, store: Store, faults: FaultList) -> None:
        self._store = store
        self._faults = faults

    # -- seeding ---------------------------------------------------------------------------

    def add_query(
        self,
        name: str,
        *,
        query_string: str = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.user_id",
        entities: int = 100_000,
        connector: str = "my_snowflake",
    ) -> str:
        """Add a predictive query on the shop's graph.

        :param name: its name.
        :param query_string: the query.
        :param entities: how many entities a batch prediction scores.
        :param connector: name of the connector that the tables are read through.
        :returns: the id of the query.
        """
        _check_range("entities", entities, 0, 10**12)
        graph = seeds.shop_graph(connector)
        query = seeds.make_query(name=name, query_string=query_string, graph=graph, entities=entities)
        self._store.save_query(query)
        self._store.save_graph(query.graph)
        return query.id

    def add_past_jobs(
        self,
        query: str,
        count: int,
        *,
        kind: str = "training",
        days: float = 90.0,
        tags: dict[str, str] | None = None,
    ) -> list[str]:
        """Add jobs that were done in the past, spread evenly over some days.

        :param query: name or id of the predictive query.
        :param count: how many.
        :param kind: ``training`` or ``prediction``.
        :param days: over how many days before now.
        :param tags: custom tags of all of them.
        :returns: the ids of the jobs, oldest first.
        :raises Invalid: if the query does not exist, or has no model to predict with.
        """
        _check_range("count", count, 1, MOST_PAST_JOBS)
        _check_range("days", days, 0, 36_500)
        check_tags(tags or {})
        record = self._query(query)
        jobs = seeds.past_jobs(self._store, record, count=count, kind=Kind(kind), days=days, tags=tags)
        self._store.adopt(jobs)
        return [job.id for job in jobs]

    def _query(self, name_or_id: str) -> QueryRecord:
        record = self._store.query(name_or_id)
        if record is None:
            raise Invalid(f"Predictive query {name_or_id[:200]} does not exist.")
        return record

    # -- plans for jobs to come ------------------------------------------------------------

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
        :raises Invalid: if jobs of that kind have no such stage.
        """
        _check_range("count", count, 1, MOST_PLANNED)
        known = [name for name, _ in lifecycle.SHAPES[Kind(kind)].stages]
        if stage is not None and stage not in known:
            raise Invalid(f"Jobs of kind {kind} have no stage {stage!r}; one of {', '.join(known)}.")
        planned = self._store.plans.failures.setdefault(Kind(kind), deque())
        planned.extend(Failure(title, message, stage) for _ in range(count))

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
        _check_range("count", count, 1, MOST_PLANNED)
        self._store.plans.rejections.extend((title, message) for _ in range(count))

    def hold(self, job_id: str | None = None, *, kind: str | None = None, count: int | None = None) -> None:
        """Keep a job RUNNING until it is released, or let jobs to come start that way.

        :param job_id: the job; ``None`` for jobs to come.
        :param kind: only jobs of this kind, when no job is named.
        :param count: how many jobs of each kind; ``None`` for all.
        :raises NoSuchJob: if there is no such job.
        :raises WrongState: if it has ended.
        """
        if job_id is None:
            _check_range("count", 1 if count is None else count, 1, MOST_PLANNED)
            for each in [Kind(kind)] if kind is not None else list(Kind):
                self._store.plans.holds[each] = inf if count is None else count
            return
        record = self._live(job_id)
        record.held = True
        self._store.changed(record)

    def release(self, job_id: str | None = None) -> None:
        """Let a held job go on; it ends when it would have ended, or now if that has passed.

        :param job_id: the job; ``None`` for all, and no new job is held either.
        :raises NoSuchJob: if there is no such job.
        """
        if job_id is None:
            self._store.plans.holds.clear()
        records = list(self._store.jobs.values()) if job_id is None else [self._job(job_id)]
        held = [record for record in records if record.held]
        for record in held:
            record.held = False
            record.released_at = self._store.clock()
        self._store.changed(*held)

    # -- jobs that exist -------------------------------------------------------------------

    def _job(self, job_id: str) -> JobRecord:
        record = self._store.job(job_id)
        if record is None:
            raise NoSuchJob(f"Job {str(job_id)[:200]} does not exist.")
        return record

    def _live(self, job_id: str) -> JobRecord:
        record = self._job(job_id)
        status = self._store.view(record).status
        if status in lifecycle.TERMINAL:
            raise WrongState(f"Job {job_id} has ended: its status is {status}.")
        return record

    def cancel(self, job_id: str) -> bool:
        """Cancel a job as a person in Kumo's UI would.

        :param job_id: the job.
        :returns: false if it had already ended.
        :raises NoSuchJob: if there is no such job.
        """
        return cancel(self._store, self._job(job_id), by="ui")

    def vanish(self, job_id: str) -> None:
        """Make a job disappear: 404, and in no list.

        :param job_id: the job.
        :raises NoSuchJob: if there is no such job.
        """
        record = self._job(job_id)
        if self._store.view(record).status not in lifecycle.TERMINAL:
            record.verdict = Verdict("CANCELLED", self._store.clock())
        record.vanished = True
        self._store.changed(record)

    def finish(self, job_id: str) -> None:
        """Make a job DONE now.

        :param job_id: the job.
        :raises NoSuchJob: if there is no such job.
        :raises WrongState: if it has ended.
        """
        self._end(job_id, "DONE", None)

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
        :raises NoSuchJob: if there is no such job.
        :raises WrongState: if it has ended.
        """
        self._end(job_id, "FAILED", Failure(title, message))

    def _end(self, job_id: str, status: str, failure: Failure | None) -> None:
        record = self._live(job_id)
        now = self._store.clock()
        if status == "DONE" and (record.started_at is None or record.started_at > now):
            record.started_at = now
        remaining = lifecycle.plan_of(record).total - lifecycle.virtual_at(record, now)
        if status == "DONE" and remaining > 0:
            # Without the jump, a job that is done would have stages that never happened.
            record.advances = [*record.advances, (now, remaining)]
        if record.held:
            # Its own end, which it was held back from, may lie in the past.
            record.held, record.released_at = False, now
        record.verdict = Verdict(status, now, failure)
        self._store.changed(record)

    def advance(self, job_id: str, seconds: float) -> None:
        """Jump ahead on the timeline of a job.

        :param job_id: the job.
        :param seconds: how far, in virtual seconds.
        :raises NoSuchJob: if there is no such job.
        :raises WrongState: if it has ended, or waits for a free slot.
        """
        _check_range("seconds", seconds, 0, 10**9)
        record = self._live(job_id)
        if record.started_at is None:
            raise WrongState(f"Job {job_id} waits for a free slot.")
        now = self._store.clock()
        waiting = max(0.0, record.started_at - now)
        if seconds < waiting * record.speed:
            record.started_at -= seconds / record.speed
        else:
            record.started_at -= waiting
            record.advances = [*record.advances, (now, seconds - waiting * record.speed)]
        self._store.changed(record)

    # -- the server ------------------------------------------------------------------------

    def rotate_key(self, key: str | None = None) -> str:
        """Replace the API key; the old one is invalid at once.

        :param key: the new key; ``None`` makes one up.
        :returns: the new key.
        """
        if key is None:
            key = "local:" + hashlib.sha256(f"next/{self._store.key}".encode()).hexdigest()[:20]
        try:
            dataclasses.replace(self._store.settings, key=key)
        except ValueError as error:
            raise Invalid(str(error)) from None
        self._store.key = key
        self._store.changed()
        return key

    def set_list(self, *, order: str | None = None, cap: int | None = None) -> None:
        """Decide how lists of jobs are ordered and cut.

        :param order: ``newest`` or ``oldest`` first, or ``unordered``; ``None`` means ``newest``.
        :param cap: at most this many jobs, whatever limit is asked for; ``None`` for no cap.
        """
        order = order or "newest"
        if order not in LIST_ORDERS or (cap is not None and cap < 0):
            raise Invalid(f"order must be one of {', '.join(LIST_ORDERS)}, and cap at least 0.")
        self._store.list_rule.order = order
        self._store.list_rule.cap = cap

    def inject(self, kind: str, **options: Any) -> None:
        """Inject a fault.

        :param kind: one of :data:`airflow_provider_kumo.emulator.faults.KINDS`.
        :param options: the fields of :class:`airflow_provider_kumo.emulator.faults.Fault`.
        :raises Invalid: if the fault makes no sense.
        """
        try:
            self._faults.add(Fault(kind, **options))
        except (ValueError, TypeError) as error:
            raise Invalid(str(error)) from None

    def clear_faults(self) -> None:
        """Forget the faults that are left."""
        self._faults.clear()

    def requests(self) -> list[SeenRequest]:
        """Return the requests seen, oldest first.

        :returns: the requests.
        """
        return list(self._store.requests)

    def clear_requests(self) -> None:
        """Forget the requests seen so far."""
        self._store.requests.clear()

    def jobs(self, kind: str | None = None) -> list[SeenJob]:
        """Return the jobs, in the order of their creation.

        :param kind: only jobs of this kind.
        :returns: the jobs, those that vanished among them.
        """
        wanted = Kind(kind) if kind is not None else None
        found = [job for job in self._store.jobs.values() if wanted is None or job.kind is wanted]
        return [self._seen(job) for job in sorted(found, key=lambda job: (job.created_at, job.number))]

    def job(self, job_id: str) -> SeenJob:
        """Return one job.

        :param job_id: its id.
        :returns: the job, also one that vanished.
        :raises NoSuchJob: if there never was such a job.
        """
        record = self._store.jobs.get(job_id)
        if record is None:
            raise NoSuchJob(f"Job {job_id[:200]} does not exist.")
        return self._seen(record)

    def _seen(self, record: JobRecord) -> SeenJob:
        return SeenJob(
            id=record.id,
            kind=record.kind.value,
            status=self._store.view(record).status,
            pquery_name=record.pquery_name,
            project_id=record.project_id,
            tags=dict(record.tags),
            config=record.config,
            created_at=record.created_at,
            started_by=record.started_by,
            held=record.held,
            cancelled_by=record.cancelled_by,
            vanished=record.vanished,
        )

    def reset(self) -> None:
        """Go back to the beginning: seeds, first key, no faults, no requests."""
        self._faults.clear()
        self._store.requests.clear()
        self._store.key = self._store.settings.key
        self._store.clear()
        seeds.seed(self._store)
        self._store.changed()

    def summary(self) -> dict[str, Any]:
        """Tell what there is, without the key.

        :returns: settings, counts and names.
        """
        settings = dataclasses.asdict(self._store.settings)
        del settings["key"]
        return {
            "settings": settings,
            "queries": [query.name for query in self._store.queries.values()],
            "connectors": list(self._store.connectors),
            "jobs": len(self._store.jobs),
            "requests": len(self._store.requests),
            "faults": len(self._faults),
        }


# -- over HTTP ----------------------------------------------------------------------------------


def guarded(handler: Handler) -> Handler:
    """Let only this machine through, and no web page that a browser on it shows.

    :param handler: the handler behind the door.
    :returns: a handler that checks first.
    """

    async def check(request: web.Request) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        if not peer or not is_loopback(str(peer[0])):
            raise web.HTTPForbidden(text="The control door opens from the loopback interface only.")
        if "Origin" in request.headers or not is_loopback(_host_of(request)):
            # A page of another site must not reach it through the visitor's browser.
            raise web.HTTPForbidden(text="The control door does not open to web pages.")
        return await handler(request)

    return check


def _host_of(request: web.Request) -> str:
    try:
        return urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, seen from itself.

    :param host: a name or an address.
    :returns: whether it is a loopback address, or ``localhost``.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return False


def _control(request: web.Request) -> Control:
    return Control(request.app[STORE], request.app[FAULTS])


def _action(name: str) -> Callable[[web.Request], Any]:
    """Make the handler of an action: the keys of the body are its arguments."""
    action = validate_call(getattr(Control, name))

    async def handle(request: web.Request) -> web.Response:
        raw = await request.read()
        arguments = wire.load_json(raw) if raw else {}
        return answer({"result": _run(lambda: action(_control(request), **arguments))})

    return handle


def _run(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except NoSuchJob as error:
        raise web.HTTPNotFound(text=str(error)) from None
    except WrongState as error:
        raise web.HTTPConflict(text=str(error)) from None
    except SchemaError as error:
        raise Invalid(wire.problems_of(error)) from None
    except ValueError as error:
        # A kind of job that does not exist.
        raise Invalid(str(error)[:500]) from None


async def _inject(request: web.Request) -> web.Response:
    raw = await request.read()
    many = raw.lstrip()[:1] == b"["
    listed = wire.load_json(b'{"faults":' + raw + b"}")["faults"] if many else [wire.load_json(raw)]
    # All of them are checked before the first is taken.
    faults = _run(lambda: [_FAULT.validate_python(fields) for fields in listed])
    for fault in faults:
        request.app[FAULTS].add(fault)
    return answer({"result": len(request.app[FAULTS])})


async def _clear_faults(request: web.Request) -> web.Response:
    _control(request).clear_faults()
    return answer({"result": None})


async def _requests(request: web.Request) -> web.Response:
    return answer([dataclasses.asdict(seen) for seen in _control(request).requests()])


async def _clear_requests(request: web.Request) -> web.Response:
    _control(request).clear_requests()
    return answer({"result": None})


async def _jobs(request: web.Request) -> web.Response:
    kind = request.query.get("kind")
    return answer([dataclasses.asdict(job) for job in _run(lambda: _control(request).jobs(kind))])


async def _summary(request: web.Request) -> web.Response:
    return answer(_control(request).summary())


def routes() -> list[web.RouteDef]:
    """Return the routes of the control door.

    :returns: the routes.
    """
    actions = {
        "query": "add_query",
        "past_jobs": "add_past_jobs",
        "list": "set_list",
        **{
            name: name
            for name in (
                "fail_next",
                "reject_next",
                "hold",
                "release",
                "cancel",
                "vanish",
                "finish",
                "fail",
                "advance",
                "rotate_key",
                "reset",
            )
        },
    }
    return [
        *(web.post(f"/_emulator/{path}", _action(name)) for path, name in actions.items()),
        web.post("/_emulator/faults", _inject),
        web.delete("/_emulator/faults", _clear_faults),
        web.get("/_emulator/requests", _requests),
        web.delete("/_emulator/requests", _clear_requests),
        web.get("/_emulator/jobs", _jobs),
        web.get("/_emulator", _summary),
    ]
