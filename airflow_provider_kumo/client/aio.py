"""The triggerer's transport: the same calls over aiohttp, one shared session per event loop and connection."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp
import certifi
from yarl import URL

from airflow_provider_kumo.client.answers import body_limit, read_answer, unreachable, unreadable
from airflow_provider_kumo.client.errors import (
    KumoAuthenticationError,
    KumoConfigurationError,
    KumoConnectionLostError,
    KumoError,
)
from airflow_provider_kumo.client.logs import Outages
from airflow_provider_kumo.client.policy import Budgets, Weather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from airflow_provider_kumo.client.calls import Call
    from airflow_provider_kumo.client.config import KumoConfig
    from airflow_provider_kumo.client.logs import Log

T = TypeVar("T")

_CHUNK = 64 * 1024
_DNS_TTL = 300
# For each Kumo and event loop. Enough for a thousand answers a second at 100 ms each; more requests than that wait.
_CONNECTIONS = 100
_BUDGETS = Budgets()


class AsyncKumoClient:
    """Sends calls to Kumo from an event loop and waits out what passes, without a thread.

    Use as an async context manager; clients with the same configuration share one session.

    :param load_config: returns the configuration; awaited again whenever the key is refused.
    :param log: where an outage and its end are told, once each.
    :param budgets: for how long a configuration that cannot be had at first is waited for.
    """

    def __init__(
        self, load_config: Callable[[], Awaitable[KumoConfig]], *, log: Log, budgets: Budgets = _BUDGETS
    ) -> None:
        self._load_config = load_config
        self._budgets = budgets
        self._outages = Outages(log)
        self._lease: _Lease | None = None
        self._last_url: tuple[Call[Any], URL] | None = None

    async def __aenter__(self) -> Self:
        self._lease = await _lease(await self._first_config())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lease is not None:
            lease, self._lease = self._lease, None
            await lease.give_back()

    @property
    def config(self) -> KumoConfig:
        """The configuration in use."""
        return self._open_lease.config

    async def send(self, call: Call[T], *, budgets: Budgets | None = None) -> T:
        """Send a call and return its result.

        :param call: what to ask.
        :param budgets: for how long trouble is waited out; default 30 minutes for Kumo, 15 for a refused key.
        :raises KumoError: the class says the cause.
        """
        weather = Weather(budgets or _BUDGETS, safe_to_repeat=call.safe_to_repeat)
        refused = False
        while True:
            try:
                if refused:
                    await self._reload()
                result = await self._attempt(call)
            except KumoError as error:
                pause = weather.pause_after(error, now=time.monotonic())
                if pause is None:
                    raise
                self._outages.spoiled(error)
                await asyncio.sleep(pause)
                refused = isinstance(error, KumoAuthenticationError | KumoConnectionLostError)
            else:
                self._outages.passed(self.config.origin)
                return result

    @property
    def _open_lease(self) -> _Lease:
        if self._lease is None:
            raise RuntimeError("AsyncKumoClient is used outside of its 'async with' block.")
        return self._lease

    async def _first_config(self) -> KumoConfig:
        weather = Weather(self._budgets, safe_to_repeat=True)
        while True:
            try:
                return await self._load_config()
            except KumoConnectionLostError as error:
                pause = weather.pause_after(error, now=time.monotonic())
                if pause is None:
                    raise
                self._outages.spoiled(error)
                await asyncio.sleep(pause)

    async def _reload(self) -> None:
        config = await self._load_config()
        if config != self.config:
            new = await _lease(config)
            old, self._lease, self._last_url = self._lease, new, None
            if old is not None:
                await old.give_back()

    async def _attempt(self, call: Call[T]) -> T:
        lease = self._open_lease
        config = lease.config
        try:
            async with lease.session.request(
                call.method, self._url(call, config), json=call.json, proxy=lease.proxy, allow_redirects=False
            ) as response:
                body = await _read(response, limit=body_limit(call, response.status))
                return read_answer(call, config, response.status, response.headers, body)
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorError) as error:
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                raise _tls_error(config, error) from error
            raise unreachable(call, config, error, reached=False) from None
        except aiohttp.ConnectionTimeoutError as error:
            raise unreachable(call, config, error, reached=False) from None
        except TimeoutError:
            raise unreadable(call, config, "its answer too slowly") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(call, config, error, reached=True) from None

    def _url(self, call: Call[Any], config: KumoConfig) -> URL:
        """Return the URL of a call. Who waits sends the same call again and again, so the last one is kept."""
        if self._last_url is None or self._last_url[0] is not call:
            url = URL(config.url(call.path), encoded=True).update_query(config.query(call.path, call.query))
            self._last_url = (call, url)
        return self._last_url[1]


class _Shared:
    """A session with the number of clients that hold it."""

    def __init__(self, session: aiohttp.ClientSession, proxy: str | None) -> None:
        self.session = session
        self.proxy = proxy
        self.holders = 0


class _Sessions:
    """The open sessions of one event loop, by what makes two configurations the same on the wire."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.shared: dict[tuple[object, ...], _Shared] = {}


_sessions_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Sessions] = weakref.WeakKeyDictionary()


class _Lease:
    """One client's hold of a shared session."""

    def __init__(self, config: KumoConfig, sessions: _Sessions, shared: _Shared) -> None:
        self.config = config
        self._sessions = sessions
        self._shared = shared
        shared.holders += 1

    @property
    def session(self) -> aiohttp.ClientSession:
        return self._shared.session

    @property
    def proxy(self) -> str | None:
        return self._shared.proxy

    async def give_back(self) -> None:
        self._shared.holders -= 1
        if self._shared.holders == 0:
            self._sessions.shared.pop(_wire_key(self.config), None)
            await self._shared.session.close()


def _wire_key(config: KumoConfig) -> tuple[object, ...]:
    return (
        config.base_url,
        config.secret,
        config.auth_type,
        config.verify,
        config.connect_timeout,
        config.read_timeout,
    )


async def _lease(config: KumoConfig) -> _Lease:
    sessions = _sessions_of_loop.setdefault(asyncio.get_running_loop(), _Sessions())
    async with sessions.lock:
        shared = sessions.shared.get(_wire_key(config))
        if shared is None:
            shared = _Shared(await _open_session(config), _proxy(config))
            sessions.shared[_wire_key(config)] = shared
        return _Lease(config, sessions, shared)


async def _open_session(config: KumoConfig) -> aiohttp.ClientSession:
    trust: ssl.SSLContext | bool = False
    if config.verify and config.base_url.startswith("https:"):
        # Reading a bundle takes tens of milliseconds, which other triggers would feel.
        trust = await asyncio.to_thread(_trust, config)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, limit=_CONNECTIONS, ttl_dns_cache=_DNS_TTL),
        headers=config.headers,
        timeout=aiohttp.ClientTimeout(
            total=config.connect_timeout + config.read_timeout, sock_connect=config.connect_timeout
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _trust(config: KumoConfig) -> ssl.SSLContext:
    """Trust what requests trusts, so that a connection that works on a worker works in a triggerer."""
    bundle = (
        config.verify
        if isinstance(config.verify, str)
        else os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    )
    try:
        if os.path.isdir(bundle):
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise KumoConfigurationError(f"Kumo at {config.origin} cannot be called: CA bundle {bundle}: {error}") from None


def _proxy(config: KumoConfig) -> str | None:
    """Return the environment's proxy for Kumo, read as the worker's transport reads it.

    aiohttp's own ``trust_env`` knows fewer forms, and would also send what ~/.netrc holds.
    """
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

    proxy = select_proxy(config.base_url, get_environ_proxies(config.base_url))
    return None if proxy is None else str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]


async def _read(response: aiohttp.ClientResponse, *, limit: int) -> bytes:
    """Read a body, at most one byte over the limit; the session's total timeout bounds how long it may trickle."""
    content = response.content
    chunk = await content.readany()
    if content.at_eof() and len(chunk) <= limit:
        # Nearly every answer has come in one piece.
        return chunk
    body = bytearray(chunk)
    while len(body) <= limit:
        chunk = await content.read(_CHUNK)
        if not chunk:
            break
        body += chunk
    return bytes(body[: limit + 1])


def _tls_error(config: KumoConfig, error: aiohttp.ClientConnectorCertificateError) -> KumoConfigurationError:
    return KumoConfigurationError(
        f"The certificate of Kumo at {config.origin} is not trusted: {str(error.certificate_error)[:300]}. "
        "Name the authority's file as ca_bundle in the connection."
    )
