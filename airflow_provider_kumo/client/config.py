"""Where Kumo is and how to speak to it: base URL, credentials, TLS, timeouts, group and project."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, urlsplit

from airflow_provider_kumo import __version__
from airflow_provider_kumo.client.errors import KumoConfigurationError

# Less would keep a triggerer busy.
SHORTEST_POLL_INTERVAL = 0.1

USER_AGENT = f"airflow-provider-kumo/{__version__}"

EXTRA_FIELDS = frozenset(
    {
        "auth_type",
        "verify",
        "ca_bundle",
        "connect_timeout",
        "read_timeout",
        "group_id",
        "project_id",
        "poll_interval",
        "allow_http",
    }
)

_KUMO_CLOUD = ".kumoai.cloud"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CUSTOMER_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9-]{1,63})*")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~%+-]+)*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class AuthType(StrEnum):
    """How the key is presented."""

    API_KEY = "api_key"
    SNOWFLAKE = "snowflake"


@dataclass(frozen=True, kw_only=True)
class KumoConfig:
    """Everything that a transport needs to know.

    :param base_url: without a trailing slash; endpoints follow as ``/v1/…``.
    :param secret: the API key or Snowflake token; never shown.
    :param auth_type: how the secret is presented.
    :param verify: whether to check certificates, or the path of a CA bundle to check them with.
    :param connect_timeout: seconds to wait for a connection.
    :param read_timeout: seconds that a whole answer may take.
    :param scope: group and project as query parameters of every ``/v1`` call.
    :param poll_interval: seconds between two looks at a job when the task does not say, or None.
    """

    base_url: str
    secret: str = field(repr=False)
    auth_type: AuthType = AuthType.API_KEY
    verify: bool | str = True
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    scope: Mapping[str, str] = field(default_factory=dict)
    poll_interval: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request. They hold the secret."""
        if self.auth_type is AuthType.SNOWFLAKE:
            credentials = {"Authorization": f'Snowflake Token="{self.secret}"'}
        else:
            credentials = {"X-API-Key": self.secret}
        return {**credentials, "Accept": "application/json", "User-Agent": USER_AGENT}

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a message may show."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def tenant(self) -> str | None:
        """The customer id, which Kumo's cloud has in its host names and before the colon of its keys."""
        host = urlsplit(self.base_url).hostname or ""
        if host.endswith(_KUMO_CLOUD):
            return host.removesuffix(_KUMO_CLOUD)
        customer_id, separator, _ = self.secret.partition(":")
        is_key = self.auth_type is AuthType.API_KEY and separator and _CUSTOMER_ID.fullmatch(customer_id)
        return customer_id if is_key else None

    def without_secret(self, text: bytes) -> bytes:
        """Return a text with every occurrence of the secret masked, as it is and as JSON writes it."""
        for form in self._written_secret:
            text = text.replace(form, b"***")
        return text

    @cached_property
    def _written_secret(self) -> frozenset[bytes]:
        written = json.dumps(self.secret)[1:-1]
        return frozenset(form.encode() for form in (self.secret, written, written.replace("/", "\\/")))

    def url(self, path: str) -> str:
        """Return the URL of a call's path."""
        return self.base_url + path

    def query(self, path: str, query: Mapping[str, str]) -> dict[str, str]:
        """Return a call's query with group and project added where Kumo expects them."""
        return {**query, **self.scope} if path.startswith("/v1/") else dict(query)


def config_from_connection(
    *,
    conn_id: str,
    host: str | None,
    port: int | None,
    schema: str | None,
    password: str | None,
    extra: Mapping[str, Any],
) -> KumoConfig:
    """Read an Airflow connection; says which field is wrong, what it holds (never the key) and what it wants.

    :param conn_id: for messages.
    :param host: empty for Kumo's own cloud; else any host, with or without scheme, port and path.
    :param port: added to a host that names none.
    :param schema: ``http`` or ``https``, or the path that a connection URI carries.
    :param password: the API key, or the Snowflake token.
    :param extra: the fields of the connection form.
    :raises KumoConfigurationError: something cannot be used.
    """
    try:
        if not isinstance(extra, Mapping):
            raise KumoConfigurationError(f"its extra is {extra!r:.100}; it must be a JSON object.")
        secret = _secret(password)
        base_url = _base_url(host, port, schema, secret)
        _refuse_plain_http(base_url, allowed=_flag(extra, "allow_http", default=False))
        return KumoConfig(
            base_url=base_url,
            secret=secret,
            auth_type=_auth_type(extra.get("auth_type")),
            verify=_verify(extra),
            connect_timeout=_seconds(extra, "connect_timeout") or 10.0,
            read_timeout=_seconds(extra, "read_timeout") or 60.0,
            scope=_scope(extra),
            poll_interval=_seconds(extra, "poll_interval", shortest=SHORTEST_POLL_INTERVAL),
        )
    except KumoConfigurationError as error:
        raise KumoConfigurationError(f"Connection {conn_id!r}: {error}") from None


def _secret(password: str | None) -> str:
    if not password:
        raise KumoConfigurationError("it has no API key. Put the key from Kumo's settings into the password.")
    if not password.isascii() or not password.isprintable() or " " in password:
        raise KumoConfigurationError(
            "its password holds a space, a line break or another character that no API key has. "
            "Copy the key again, without what surrounds it."
        )
    return password


def _base_url(host: str | None, port: int | None, schema: str | None, secret: str) -> str:
    host = (host or "").strip()
    if not host:
        return _cloud_url(secret)
    scheme, rest = _split_scheme(host)
    parts = _split_host(host, rest)
    path = parts.path.rstrip("/")
    if schema in ("http", "https"):
        scheme = scheme or schema
    elif schema and not path:
        path = "/" + schema.strip("/")
    if not _PATH.fullmatch(path):
        raise KumoConfigurationError(f"its path {path[:200]!r} is no path of a URL.")
    if parts.port is not None:
        port = parts.port
    name = parts.hostname or ""
    if scheme is None:
        scheme = "http" if is_loopback(name) else "https"
    if port == _DEFAULT_PORTS[scheme]:
        port = None
    if not path and name.endswith(_KUMO_CLOUD):
        # Kumo documents this prefix for its own cloud; elsewhere the gateway decides, so the host stands as given.
        path = "/api"
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}" + (f":{port}" if port else "") + path


def _cloud_url(secret: str) -> str:
    customer_id, separator, _ = secret.partition(":")
    if not separator or not _CUSTOMER_ID.fullmatch(customer_id):
        raise KumoConfigurationError(
            "its API key is not of the form '<customer id>:<secret>', so it does not tell where Kumo is. "
            "Name the host in the connection."
        )
    return f"https://{customer_id}{_KUMO_CLOUD}/api"


def _split_scheme(host: str) -> tuple[str | None, str]:
    scheme, separator, rest = host.partition("://")
    if not separator:
        return None, host
    if scheme.lower() not in ("http", "https"):
        raise KumoConfigurationError(
            f"its host {host[:200]!r} is no http(s) URL, such as 'https://kumo.example.com/api'."
        )
    return scheme.lower(), rest


def _split_host(host: str, rest: str) -> SplitResult:
    try:
        parts = urlsplit("//" + rest)
        _ = parts.port
    except ValueError:
        raise _bad_host(host) from None
    name = parts.hostname or ""
    if parts.query or parts.fragment or parts.username is not None or not rest.isprintable() or " " in rest:
        raise _bad_host(host)
    if not _HOST.fullmatch(name) and not _is_ip(name):
        raise _bad_host(host)
    return parts


def _bad_host(host: str) -> KumoConfigurationError:
    # A host may hold credentials by mistake; they are not repeated.
    shown = host[:200] if "@" not in host else "***@" + host.rpartition("@")[2][:200]
    return KumoConfigurationError(
        f"its host {shown!r} is no host or URL. Write something like 'kumo.example.com/api' or "
        "'https://kumo.example.com:8443/api', or leave it empty for Kumo's own cloud."
    )


def is_loopback(name: str) -> bool:
    """Tell whether a host name stands for this very machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_ip(name) and ipaddress.ip_address(name).is_loopback


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refuse_plain_http(base_url: str, *, allowed: bool) -> None:
    parts = urlsplit(base_url)
    if parts.scheme == "http" and not allowed and not is_loopback(parts.hostname or ""):
        raise KumoConfigurationError(
            f"its host {parts.netloc!r} is plain http, which would send the API key unencrypted. "
            "Use https, or set 'allow_http' in the connection if the network is trusted."
        )


def _scope(extra: Mapping[str, Any]) -> dict[str, str]:
    scope = {}
    for key in ("group_id", "project_id"):
        value = extra.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise KumoConfigurationError(f"its {key} is {value!r:.100}; it must be an id.")
        if value not in (None, ""):
            scope[key] = str(value)
    return scope


def _auth_type(value: Any) -> AuthType:
    try:
        return AuthType(value or AuthType.API_KEY)
    except ValueError:
        raise KumoConfigurationError(f"its auth_type is {value!r}; it must be one of {', '.join(AuthType)}.") from None


def _verify(extra: Mapping[str, Any]) -> bool | str:
    if not _flag(extra, "verify", default=True):
        return False
    ca_bundle = extra.get("ca_bundle")
    if ca_bundle is not None and not isinstance(ca_bundle, str):
        raise KumoConfigurationError(f"its ca_bundle is {ca_bundle!r}; it must be a path.")
    return ca_bundle or True


def _flag(extra: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = extra.get(key)
    if value is None or value == "":
        return default
    # A connection URI carries every extra as text; the Test button of Airflow 2.11 sends "y" for a ticked box.
    known = {"true": True, "1": True, "yes": True, "y": True, "false": False, "0": False, "no": False, "n": False}
    flag = known.get(str(value).lower())
    if flag is None:
        raise KumoConfigurationError(f"its {key} is {value!r}; it must be true or false.")
    return flag


def _seconds(extra: Mapping[str, Any], key: str, *, shortest: float = 0.0) -> float | None:
    value = extra.get(key)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise KumoConfigurationError(f"its {key} is {value!r}; it must be a number of seconds above zero.")
    if seconds < shortest:
        raise KumoConfigurationError(f"its {key} is {value!r}; it must be at least {shortest:g} seconds.")
    return seconds
