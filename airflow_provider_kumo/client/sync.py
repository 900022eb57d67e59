"""The worker's transport: calls over requests."""

from __future__ import annotations

import ssl
import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Self, TypeVar

import requests
import urllib3.exceptions

from airflow_provider_kumo.client.answers import body_limit, read_answer, unreachable, unreadable
from airflow_provider_kumo.client.errors import KumoAuthenticationError, KumoConfigurationError, KumoError
from airflow_provider_kumo.client.logs import Outages
from airflow_provider_kumo.client.policy import Budgets, Weather

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from airflow_provider_kumo.client.calls import Call
    from airflow_provider_kumo.client.config import KumoConfig
    from airflow_provider_kumo.client.logs import Log

T = TypeVar("T")

_CHUNK = 64 * 1024


class KumoClient:
    """Sends calls to Kumo and waits out what passes.

    Not safe for use by several threads at once.

    :param load_config: returns the configuration; asked again whenever the key is refused, so that a key which was
        rotated in Airflow is picked up without a restart.
    :param log: where an outage and its end are told, once each.
    """

    def __init__(self, load_config: Callable[[], KumoConfig], *, log: Log) -> None:
        self._load_config = load_config
        self._log = log
        self._outages = Outages(log)
        self.config = load_config()
        self._session = _session(self.config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def twin(self) -> Self:
        """Return a client with the same configuration and connections of its own.

        For use while this one may be in the middle of a call. It asks nobody for the configuration, because a signal
        handler must not talk to Airflow: what it has interrupted may hold the line.
        """
        config = self.config
        return type(self)(lambda: config, log=self._log)

    def send(self, call: Call[T], *, budgets: Budgets | None = None) -> T:
        """Send a call and return its result.

        :param call: what to ask.
        :param budgets: for how long trouble is waited out; default 30 minutes for Kumo, 15 for a refused key.
        :raises KumoError: the class says the cause.
        """
        weather = Weather(budgets or Budgets(), safe_to_repeat=call.safe_to_repeat)
        while True:
            try:
                result = self._attempt(call)
            except KumoError as error:
                pause = weather.pause_after(error, now=time.monotonic())
                if pause is None:
                    raise
                self._outages.spoiled(error)
                time.sleep(pause)
                if isinstance(error, KumoAuthenticationError):
                    self._reload()
            else:
                self._outages.passed(self.config.origin)
                return result

    def _reload(self) -> None:
        self._session.close()
        self.config = self._load_config()
        self._session = _session(self.config)

    def _attempt(self, call: Call[T]) -> T:
        config = self.config
        deadline = time.monotonic() + config.connect_timeout + config.read_timeout
        try:
            with self._session.request(
                call.method,
                config.url(call.path),
                params=config.query(call.path, call.query),
                json=call.json,
                timeout=(config.connect_timeout, config.read_timeout),
                # Passed with the request, because requests lets REQUESTS_CA_BUNDLE override a session's False.
                verify=config.verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = _read(response, limit=body_limit(call, response.status_code), deadline=deadline)
                return read_answer(call, config, response.status_code, response.headers, body)
        except TimeoutError:
            raise unreadable(call, config, "its answer too slowly") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if isinstance(_root(error), ssl.SSLCertVerificationError):
                raise _tls_error(config, error) from error
            if "NO_CERTIFICATE_OR_CRL_FOUND" in str(_root(error)):
                raise KumoConfigurationError(f"The CA bundle {config.verify} holds no certificate.") from None
            raise unreachable(call, config, _root(error), reached=not _never_left(error)) from None
        except OSError as error:
            # requests reports a CA bundle that is not there as a bare OSError.
            raise KumoConfigurationError(f"Kumo at {config.origin} cannot be called: {error}") from None


def _session(config: KumoConfig) -> requests.Session:
    session = requests.Session()
    session.headers.update(config.headers)
    # Proxies come from the environment, but ~/.netrc must not replace the Authorization header.
    session.auth = _keep_headers
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(response: requests.Response, *, limit: int, deadline: float) -> bytes:
    """Read a body, at most one byte over the limit, and not past the deadline however slowly it trickles.

    :raises TimeoutError: the deadline passed.
    """
    # urllib3 1.26 has no read1: there a trickling answer is only bounded by the pauses between its bytes.
    read = getattr(response.raw, "read1", response.raw.read)
    body = bytearray()
    while len(body) <= limit:
        if time.monotonic() > deadline:
            raise TimeoutError
        chunk = read(_CHUNK, decode_content=True)
        if not chunk:
            break
        body += chunk
    return bytes(body[: limit + 1])


def _never_left(error: Exception) -> bool:
    return isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError) or isinstance(
        _root(error), urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError
    )


def _root(error: BaseException) -> BaseException:
    """Return the error below requests' and urllib3's wrappers, whose text holds a whole URL."""
    inner = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else next(iter(error.args), None)
    return _root(inner) if isinstance(inner, BaseException) else error


def _tls_error(config: KumoConfig, error: Exception) -> KumoConfigurationError:
    return KumoConfigurationError(
        f"The certificate of Kumo at {config.origin} is not trusted: {str(_root(error))[:300]}. "
        "Name the authority's file as ca_bundle in the connection."
    )
