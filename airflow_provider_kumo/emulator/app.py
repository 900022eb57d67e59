"""The web application: the doors every request passes, and which handler it reaches."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

from aiohttp import web

from airflow_provider_kumo.emulator import api, catalog, control, faults, pages
from airflow_provider_kumo.emulator.context import FAULTS, STORE
from airflow_provider_kumo.emulator.faults import FaultList
from airflow_provider_kumo.emulator.store import SeenRequest, Store, TooManyJobs
from airflow_provider_kumo.emulator.wire import Invalid, dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_kumo.emulator.faults import Handler

log = logging.getLogger(__name__)

#: The largest request body that is read.
MAX_BODY = 16 * 1024 * 1024

#: Headers that carry credentials: they are not remembered.
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})

#: Resources that have no project: they are how a client finds one.
_PROJECT_FREE = ("/api/v1/groups", "/api/v1/projects", "/api/v1/connectors")

#: Seconds a refused submission is asked to wait.
RETRY_AFTER = 30


def make_app(store: Store, *, fault_list: FaultList | None = None) -> web.Application:
    """Make the web application of a local Kumo.

    :param store: its state.
    :param fault_list: the faults to inject.
    :returns: the application.
    """
    app = web.Application(middlewares=[_front_door], client_max_size=MAX_BODY)
    app[STORE] = store
    app[FAULTS] = fault_list if fault_list is not None else FaultList()
    app.add_routes(catalog.routes())
    app.add_routes(api.routes())
    app.add_routes(pages.routes())
    app.add_routes(control.routes())
    return app


@web.middleware
async def _front_door(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith("/_emulator"):
        return await _answered(request, control.guarded(handler))
    if not request.path.startswith("/api/"):
        return await _answered(request, handler)
    store = request.app[STORE]
    fault = request.app[FAULTS].take(request.method, request.path)
    status = 0
    try:
        if fault is None:
            response = await _api(request, handler)
        else:
            response = await faults.commit(fault, request, lambda req: _api(req, handler))
        status = 0 if isinstance(response, faults.Lost) else response.status
    except ConnectionError:
        # The client has gone away in the middle of the body.
        response = faults.Lost()
    finally:
        # A request whose answer is lost is remembered too, with status 0.
        store.note_request(
            SeenRequest(
                method=request.method,
                path=request.path,
                query=dict(request.query),
                status=status,
                time=store.clock(),
                headers=_harmless(request.headers),
                fault=fault.kind if fault else None,
            )
        )
    return response


def _harmless(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}


async def _api(request: web.Request, handler: Handler) -> web.StreamResponse:
    store = request.app[STORE]
    if not _knows_key(request.headers, store.key):
        return _refusal(401, "Invalid API key")
    if store.settings.rbac and request.path.startswith("/api/v1/"):
        refusal = _outside_project(request, store)
        if refusal is not None:
            return refusal
    return await _answered(request, handler)


def _knows_key(headers: Mapping[str, str], key: str) -> bool:
    given = headers.get("X-API-Key")
    if given is None:
        prefix, _, rest = headers.get("Authorization", "").partition("Token=")
        if prefix.strip() != "Snowflake":
            return False
        given = rest.strip().strip('"')
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.encode())


def _outside_project(request: web.Request, store: Store) -> web.Response | None:
    if request.path.startswith(_PROJECT_FREE):
        return None
    group, project = request.query.get("group_id"), request.query.get("project_id")
    if not group or not project:
        return _refusal(403, "RBAC is enabled: group_id and project_id are required.")
    if group not in store.groups:
        return _refusal(403, f"You are not a member of group {group[:100]}.")
    if store.projects.get(project, (None,))[0] != group:
        return _refusal(403, f"Project {project[:100]} does not exist in group {group[:100]}.")
    return None


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Run a handler; whatever goes wrong becomes an answer in Kumo's shape."""
    try:
        return await handler(request)
    except Invalid as error:
        return web.Response(status=422, body=dumps({"detail": error.detail}), content_type="application/json")
    except TooManyJobs:
        refusal = _refusal(429, "Too many queued jobs. Wait for one to finish, or cancel one, before starting another.")
        refusal.headers["Retry-After"] = str(RETRY_AFTER)
        return refusal
    except web.HTTPException as error:
        if error.status < 400:
            raise
        # aiohttp writes "404: Not Found" where nobody has said anything better.
        text = error.text or ""
        return _refusal(error.status, error.reason if text.startswith(f"{error.status}: ") else text)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _refusal(500, "Internal Server Error")


def _refusal(status: int, detail: str) -> web.Response:
    return web.Response(status=status, body=dumps({"detail": detail}), content_type="application/json")
