"""What all handlers share: where they find the state, and how they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from airflow_provider_kumo.emulator.faults import FaultList
from airflow_provider_kumo.emulator.store import Store
from airflow_provider_kumo.emulator.wire import dumps

if TYPE_CHECKING:
    from typing import Any

STORE = web.AppKey("store", Store)
FAULTS = web.AppKey("faults", FaultList)


def answer(value: Any, *, status: int = 200) -> web.Response:
    """Answer with a JSON value.

    :param value: the value.
    :param status: the status code.
    :returns: the response.
    """
    return web.Response(status=status, body=dumps(value), content_type="application/json")


def not_found(what: str) -> web.HTTPNotFound:
    """Make the error for something that does not exist.

    :param what: for example ``Training job x``.
    :returns: the error, to be raised.
    """
    return web.HTTPNotFound(text=f"{what[:200]} not found.")
