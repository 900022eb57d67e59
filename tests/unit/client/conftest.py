from __future__ import annotations

import asyncio
import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_kumo.client import aio, sync
from airflow_provider_kumo.client.config import KumoConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_kumo.client.calls import Call
    from airflow_provider_kumo.client.policy import Budgets
    from airflow_provider_kumo.emulator.local import LocalKumo


class Lines:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def _keep(self, level: str, msg: str, args: tuple[Any, ...]) -> None:
        self.lines.append((level, msg % args if args else msg))

    def debug(self, msg: str, /, *args: Any) -> None:
        self._keep("debug", msg, args)

    def info(self, msg: str, /, *args: Any) -> None:
        self._keep("info", msg, args)

    def warning(self, msg: str, /, *args: Any) -> None:
        self._keep("warning", msg, args)

    def of(self, level: str) -> list[str]:
        return [text for found, text in self.lines if found == level]


class Clock:
    """Real time plus the pauses that nobody had to sit out."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.on_pause: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.pauses)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.on_pause()

    async def asleep(self, seconds: float) -> None:
        await asyncio.to_thread(self.sleep, seconds)


class _Asyncio:
    def __init__(self, clock: Clock) -> None:
        self.sleep = clock.asleep

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the transports' pauses pass at once, and keep them."""
    clock = Clock()
    monkeypatch.setattr(sync, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    monkeypatch.setattr(aio, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(aio, "asyncio", _Asyncio(clock))
    return clock


class SyncWire:
    """A client on a worker."""

    def __init__(self, load: Callable[[], KumoConfig]) -> None:
        self.log = Lines()
        self._client = sync.KumoClient(load, log=self.log)

    @property
    def config(self) -> KumoConfig:
        return self._client.config

    def send(self, call: Call[Any], *, budgets: Budgets | None = None) -> Any:
        return self._client.send(call, budgets=budgets)

    def close(self) -> None:
        self._client.close()


class AioWire:
    """A client in a triggerer, driven from a test that is not async."""

    def __init__(self, load: Callable[[], KumoConfig]) -> None:
        async def aload() -> KumoConfig:
            return load()

        self.log = Lines()
        self._runner = asyncio.Runner()
        self._client = aio.AsyncKumoClient(aload, log=self.log)
        try:
            self._runner.run(self._client.__aenter__())
        except BaseException:
            self._runner.close()
            raise

    @property
    def config(self) -> KumoConfig:
        return self._client.config

    def send(self, call: Call[Any], *, budgets: Budgets | None = None) -> Any:
        return self._runner.run(self._client.send(call, budgets=budgets))

    def close(self) -> None:
        self._runner.run(self._client.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(params=[SyncWire, AioWire], ids=["sync", "aio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., SyncWire | AioWire]]:
    """Return a function that makes a client of either transport from a configuration or what loads one."""
    opened: list[SyncWire | AioWire] = []

    def make(config: KumoConfig | Callable[[], KumoConfig]) -> SyncWire | AioWire:
        load = (lambda: config) if isinstance(config, KumoConfig) else config
        opened.append(request.param(load))
        return opened[-1]

    yield make
    for wire in opened:
        wire.close()


def config_of(kumo: LocalKumo, **changes: Any) -> KumoConfig:
    return KumoConfig(**{"base_url": kumo.url, "secret": kumo.api_key, "verify": False, **changes})


@pytest.fixture
def to_emulator(kumo_emulator: LocalKumo, connect: Callable[..., Any], clock: Clock) -> Any:
    """Return a client of either transport, connected to the local Kumo."""
    return connect(config_of(kumo_emulator))


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int]


Reply = tuple[int, dict[str, str], bytes]


class Stub:
    """A server that keeps whole requests, credentials too, and answers whatever it is told to."""

    def __init__(self, respond: Callable[[Asked], Reply] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.hung_up = threading.Event()
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet, or the client waits 40 ms for the second.
            wbufsize = -1

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body, self.client_address)
                stub.asked.append(asked)
                status, extra, content = (respond or (lambda _: (200, {}, b"[]")))(asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = answer

            def finish(self) -> None:
                super().finish()
                stub.hung_up.set()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/api"
        threading.Thread(target=self._server.serve_forever, args=(0.002,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    """Return a function that starts a stub server."""
    started: list[Stub] = []

    def start(respond: Callable[[Asked], Reply] | None = None, *, tls: ssl.SSLContext | None = None) -> Stub:
        started.append(Stub(respond, tls=tls))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the shell's proxies out of every test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _certificate(folder, *, ip: str):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Kumo under test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ip))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle, private = folder / f"{ip}.pem", folder / f"{ip}.key"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, private)
    return str(bundle), context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return the file and the server side of two self-signed certificates, for this host and for another."""
    folder = tmp_path_factory.mktemp("tls")
    return {"right": _certificate(folder, ip="127.0.0.1"), "wrong": _certificate(folder, ip="10.9.9.9")}
