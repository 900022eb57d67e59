"""The command ``kumo-emulator``: a local Kumo on this machine."""

from __future__ import annotations

import argparse
import asyncio
import errno
import importlib.util
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_kumo import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_kumo.emulator.store import Store

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a local Kumo until it is told to stop.

    :param argv: the arguments; ``None`` takes those of the process.
    :returns: the exit code.
    """
    args = _parser().parse_args(argv)
    if importlib.util.find_spec("kumoapi") is None:
        print(
            "The local Kumo needs Kumo's schema package: pip install 'airflow-provider-kumo[emulator]'",
            file=sys.stderr,
        )
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        store = _store(args)
        return asyncio.run(_serve(store, args))
    except _Refused as refused:
        print(refused, file=sys.stderr)
        return 1


class _Refused(Exception):
    """The emulator cannot start; the message says why, in one line."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kumo-emulator",
        description="A local Kumo: the REST API, jobs that run by themselves, and a page for each.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=8123, help="port to listen on (default %(default)s)")
    parser.add_argument(
        "--speed",
        type=float,
        default=600.0,
        help="how much faster than real time jobs run; at 600 a training takes 12 s (default %(default)g)",
    )
    parser.add_argument("--seed", type=int, default=0, help="where ids and scores are drawn from")
    parser.add_argument("--key", help="the API key (default: that of the state file, or local:kumo)")
    parser.add_argument("--rbac", action="store_true", help="require group_id and project_id")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep jobs and queries in this file")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _store(args: argparse.Namespace) -> Store:
    """Make the state: from the state file if there is one, else from the seeds."""
    from airflow_provider_kumo.emulator import persistence, seeds
    from airflow_provider_kumo.emulator.store import DEFAULT_KEY, Settings, Store

    try:
        settings = Settings(speed=args.speed, seed=args.seed, rbac=args.rbac, key=args.key or DEFAULT_KEY)
    except ValueError as error:
        raise _Refused(f"kumo-emulator: {error}") from None
    store = Store(settings)
    try:
        if args.state is None or not persistence.load(store, args.state):
            seeds.seed(store)
    except persistence.BadState as error:
        raise _Refused(f"kumo-emulator: {error}") from None
    store.key = args.key or store.key
    return store


async def _serve(store: Store, args: argparse.Namespace) -> int:
    from aiohttp import web

    from airflow_provider_kumo.emulator.app import make_app
    from airflow_provider_kumo.emulator.persistence import Keeper

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    keeper = Keeper(store, args.state) if args.state is not None else None
    runner = web.AppRunner(make_app(store), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, args.host, args.port).start()
        except OSError as error:
            raise _Refused(_why_not(error, args)) from None
        port = runner.addresses[0][1]
        store.origin = f"http://{_reachable(args.host)}:{port}"
        if keeper is not None:
            keeper.start()
        _greet(store, args)
        await stop.wait()
        print("Stopping.", flush=True)
    finally:
        await runner.cleanup()
        if keeper is not None:
            await keeper.stop()
    return 0


def _why_not(error: OSError, args: argparse.Namespace) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"kumo-emulator: port {args.port} on {args.host} is in use; try another with --port."
    return f"kumo-emulator: cannot listen on {args.host} port {args.port}: {error.strerror or error}"


def _reachable(host: str) -> str:
    """Return the host to write into a URL: an address for all interfaces leads nowhere."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared with, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _greet(store: Store, args: argparse.Namespace) -> None:
    from airflow_provider_kumo.emulator.control import is_loopback
    from airflow_provider_kumo.emulator.local import connection_of

    connection = connection_of(store.origin, store.key, poll_interval=1, rbac=store.settings.rbac)
    quoted = json.dumps(connection).replace("'", "'\\''")
    lines = [
        f"Local Kumo {__version__} at {store.origin}/api (jobs: {store.origin}/jobs)",
        "Predictive queries: " + ", ".join(query.name for query in store.queries.values()),
        "Airflow connection:",
        f"  export AIRFLOW_CONN_KUMO_DEFAULT='{quoted}'",
        "Press Ctrl+C to stop.",
    ]
    print("\n".join(lines), flush=True)
    if not is_loopback(args.host):
        print(
            f"Warning: listening on {args.host}: everyone who reaches this machine can see the job pages.",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
