"""Faults to inject: what goes wrong between a client and Kumo, on demand and in order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: The kinds of fault, and what each does.
KINDS = {
    "status": "answer `status` with `body` and `headers`; the request is not processed",
    "latency": "wait `seconds`, then process the request",
    "drop_before": "close the connection; the request is not processed",
    "drop_after": "process the request, then close the connection: the answer is lost",
    "html": "answer `status` (default 502) with a proxy's HTML page",
    "cut_json": "process the request, then answer with the first half of the body",
    "redirect": "answer 302 to `location`",
    "huge": "answer 200 with `size` bytes (default 32 MiB) of JSON",
    "trickle": "process the request, then send the body in small pieces, `seconds` apart",
}

_HTML = "<html><head><title>{status} Error</title></head><body><h1>{status} Proxy Error</h1></body></html>"


@dataclass(slots=True)
class Fault:
    """One fault, and the requests it is for.

    :param kind: one of :data:`KINDS`.
    :param method: only requests of this method; ``None`` for any.
    :param path: regular expression searched for in the path; ``None`` for any path under ``/api``.
    :param count: how many requests it hits; ``None`` for all until it is cleared.
    :param after: how many matching requests it lets pass first.
    :param status: the status code, for the kinds that send one.
    :param body: the body, for ``status``.
    :param headers: headers, for ``status``.
    :param seconds: how long to wait, for ``latency`` and ``trickle``.
    :param size: how many bytes, for ``huge``.
    :param location: where to, for ``redirect``.
    :raises ValueError: if one of them makes no sense.
    """

    kind: str
    method: str | None = None
    path: str | None = None
    count: int | None = 1
    after: int = 0
    status: int | None = None
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    size: int = 32 * 1024 * 1024
    location: str = "/login"
    _pattern: re.Pattern[str] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the values and compile the path."""
        if self.kind not in KINDS:
            raise ValueError(f"Unknown fault kind {self.kind!r}; one of {', '.join(KINDS)}.")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("The status of a fault must be from 200 to 599.")
        if not 0 <= self.seconds <= 3600 or not 0 <= self.size <= 1 << 30 or self.after < 0:
            raise ValueError("seconds (0..3600), size (0..1 GiB) or after (0..) out of range.")
        if self.count is not None and self.count < 1:
            raise ValueError("The count of a fault must be at least 1, or null for ever.")
        try:
            self._pattern = re.compile(self.path) if self.path is not None else None
        except re.error as error:
            raise ValueError(f"The path of a fault is not a regular expression: {error}") from None

    def matches(self, method: str, path: str) -> bool:
        """Tell whether the fault is for a request.

        :param method: the method of the request.
        :param path: its path.
        :returns: whether both fit.
        """
        if self.method is not None and self.method.upper() != method:
            return False
        return self._pattern is None or self._pattern.search(path) is not None


class Lost(web.Response):
    """The response to a connection that is closed: nobody will ever read it."""


class FaultList:
    """The faults still to come; the first that matches a request is taken, in one step."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Append a fault.

        :param fault: the fault.
        """
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def __len__(self) -> int:
        """Return how many faults are still to come."""
        return len(self._faults)

    def take(self, method: str, path: str) -> Fault | None:
        """Use up the first fault that matches.

        :param method: the method of the request.
        :param path: its path.
        :returns: the fault, or ``None``.
        """
        for fault in self._faults:
            if not fault.matches(method, path):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.count is not None:
                fault.count -= 1
                if fault.count == 0:
                    self._faults.remove(fault)
            return fault
        return None


async def commit(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request the way a fault wants.

    :param fault: the fault.
    :param request: the request.
    :param handler: what would have answered.
    :returns: the response; a :class:`Lost` one when the fault closed the connection.
    """
    if fault.kind == "latency":
        await asyncio.sleep(fault.seconds)
        return await handler(request)
    if fault.kind == "drop_before":
        return _hang_up(request)
    if fault.kind == "drop_after":
        await handler(request)
        return _hang_up(request)
    if fault.kind == "status":
        return _status(fault)
    if fault.kind == "html":
        status = fault.status or 502
        return web.Response(status=status, text=_HTML.format(status=status), content_type="text/html")
    if fault.kind == "redirect":
        return web.Response(status=fault.status or 302, headers={"Location": fault.location, **fault.headers})
    if fault.kind == "huge":
        return await _huge(fault, request)
    body = _bytes_of(await handler(request))
    if fault.kind == "cut_json":
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    return await _trickle(fault, request, body)


def _hang_up(request: web.Request) -> Lost:
    if request.transport is not None:
        request.transport.abort()
    # Raising would be logged as an error of the server, which it is not.
    return Lost()


def _status(fault: Fault) -> web.Response:
    status = fault.status or 503
    body = fault.body if fault.body is not None else '{"detail": "Injected fault"}'
    headers = {"Content-Type": "application/json", **fault.headers}
    return web.Response(status=status, body=body.encode("utf-8", "replace"), headers=headers)


def _bytes_of(response: web.StreamResponse) -> bytes:
    body = response.body if isinstance(response, web.Response) else None
    return bytes(body) if isinstance(body, (bytes, bytearray)) else b""


async def _huge(fault: Fault, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = max(fault.size, 2)
    await response.prepare(request)
    await response.write(b'"')
    left = response.content_length - 2
    filler = b"x" * 65_536
    while left:
        await response.write(filler[: min(left, len(filler))])
        left -= min(left, len(filler))
    await response.write(b'"')
    return response


async def _trickle(fault: Fault, request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    piece = max(1, len(body) // 20)
    for at in range(0, len(body), piece):
        await response.write(body[at : at + piece])
        await asyncio.sleep(fault.seconds)
    return response
