"""``make demo``: a Kumo, an Airflow, a DAG run from retraining to predictions, and nothing left behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.config import config_from_connection
from airflow_provider_kumo.client.errors import KumoError
from airflow_provider_kumo.client.policy import ONE_TRY
from airflow_provider_kumo.client.sync import KumoClient
from dev.airflow_api import FINISHED_RUN, AirflowError
from dev.airflow_stack import AirflowStack
from dev.demo_jobs import FollowedRun
from dev.demo_options import DemoError, Options
from dev.demo_screen import Screen
from dev.local_kumo import LocalKumoProcess
from dev.processes import REPOSITORY, STOP_SIGNALS, CannotStartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

DAG_ID = "kumo_retrain_then_predict"
STATE = REPOSITORY / ".demo"
LOCK = REPOSITORY / ".cache" / "demo.lock"

log = logging.getLogger(__name__)


class Interrupted(BaseException):
    """Somebody asked us to stop; like KeyboardInterrupt no error, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> int:
    """Run the demo and return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        options = Options.read(os.environ, terminal=sys.stdout.isatty())
        with Screen() as screen, _only_demo_here():
            return _demo(options, screen)
    except Interrupted as interruption:
        print("\nStopped; nothing is left running.", flush=True)
        return 128 + interruption.number
    except (DemoError, AirflowError, KumoError, CannotStartError) as error:
        print(error, file=sys.stderr)
        return 1


def _interrupt(number: int, _: FrameType | None) -> None:
    _ignore_signals()
    raise Interrupted(number)


def _ignore_signals() -> None:
    """From here on everything is stopped, in seconds; a second Ctrl-C would leave half of it."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _only_demo_here() -> Iterator[None]:
    """Keep a second demo of this checkout from wiping the state of the first."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError("A demo of this checkout is running: stop it first (Ctrl-C in its terminal)") from None
        yield


def _demo(options: Options, screen: Screen) -> int:
    options.check_ports()
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir()
    began = time.monotonic()
    with contextlib.ExitStack() as running:
        connection = _connection(options, screen, running)
        kumo = running.enter_context(_client(connection))
        _check_kumo(kumo, options)
        airflow = running.enter_context(_airflow(options, screen, connection))
        try:
            airflow.wait_for_dags([DAG_ID])
            screen.say(f"Airflow is up at {airflow.origin} ({time.monotonic() - began:.0f} s)")
            succeeded = _show_run(options, screen, airflow, kumo)
            if succeeded and options.keep:
                _stay(screen, airflow)
        finally:
            _ignore_signals()
    return 0 if succeeded else 1


def _connection(options: Options, screen: Screen, running: contextlib.ExitStack) -> dict[str, Any]:
    """Return the Airflow connection, to the real Kumo or to a local one that is started for it."""
    if options.api_key is not None:
        connection = {"conn_type": "kumo", "password": options.api_key, "host": options.kumo_host}
        return {name: value for name, value in connection.items() if value is not None}
    local = LocalKumoProcess(port=options.kumo_port, speed=options.speed, log=STATE / "kumo.log")
    running.enter_context(local)
    screen.say(f"Local Kumo is up at {local.origin} (its jobs: {local.origin}/jobs)")
    return local.connection


def _client(connection: dict[str, Any]) -> KumoClient:
    config = config_from_connection(
        conn_id="kumo_default",
        host=connection.get("host"),
        port=None,
        schema=None,
        password=connection["password"],
        extra=connection.get("extra", {}),
    )
    return KumoClient(lambda: config, log=log)


def _check_kumo(kumo: KumoClient, options: Options) -> None:
    """Find out what is wrong with key, host or query in a second rather than in a failed task."""
    kumo.send(calls.list_connectors(), budgets=ONE_TRY)
    kumo.send(calls.get_predictive_query(options.pquery_id), budgets=ONE_TRY)


def _airflow(options: Options, screen: Screen, connection: dict[str, Any]) -> AirflowStack:
    return AirflowStack(
        STATE / "airflow",
        REPOSITORY / "example_dags",
        port=options.airflow_port,
        # The environment of a process is for its owner's eyes only, unlike its arguments.
        env={"AIRFLOW_CONN_KUMO_DEFAULT": json.dumps(connection)},
        say=lambda text: screen.say(f"{text[0].upper()}{text[1:]} ..."),
    )


def _show_run(options: Options, screen: Screen, airflow: AirflowStack, kumo: KumoClient) -> bool:
    """Run the DAG, show it, and tell whether it succeeded."""
    run_id = airflow.trigger(DAG_ID, {"pquery_id": options.pquery_id})
    url = f"{airflow.origin}/dags/{DAG_ID}/runs/{quote(run_id)}"
    screen.say(f"Running DAG {DAG_ID} for {options.pquery_id}: {url}\n")
    run = FollowedRun(airflow, kumo, DAG_ID, run_id)
    try:
        succeeded = _follow(run, screen, pause=0.5 if options.api_key is None else 10.0)
    except Interrupted:
        if options.api_key is not None:
            _cancel(run, screen)
        raise
    screen.freeze()
    if succeeded:
        _show_results(run, screen, url)
    else:
        _show_failure(run, screen, airflow)
    return succeeded


def _follow(run: FollowedRun, screen: Screen, *, pause: float) -> bool:
    while (state := run.look()) not in FINISHED_RUN:
        screen.show(run.tasks.values())
        time.sleep(pause)
    screen.show(run.tasks.values())
    return state == "success"


def _show_results(run: FollowedRun, screen: Screen, url: str) -> None:
    screen.say("")
    screen.results(run.tasks.values())
    screen.say(f"In Airflow: {url}")
    for task in run.tasks.values():
        if task.job:
            screen.say(f"In Kumo:    {task.job.tracking_url}")


def _show_failure(run: FollowedRun, screen: Screen, airflow: AirflowStack) -> None:
    for task in run.failed_tasks():
        lines = airflow.task_log(run.dag_id, run.run_id, task.task_id).splitlines()
        screen.say("\n".join([f"\nTask {task.task_id} failed. The end of its log:", *lines[-40:]]))
    screen.say(f"\nThe DAG run failed. All logs: {STATE}")


def _cancel(run: FollowedRun, screen: Screen) -> None:
    """Have the real Kumo cancel what would otherwise run on for hours without an Airflow that waits for it."""
    screen.freeze()
    with contextlib.suppress(AirflowError):
        run.look()  # a job may have been started since the last look
    for job in run.cancel_jobs():
        screen.say(f"Asked Kumo to cancel {job.id}: {job.tracking_url}")


def _stay(screen: Screen, airflow: AirflowStack) -> None:
    screen.say(f"\nAirflow ({airflow.origin}) stays up to look around. Ctrl-C stops everything.")
    with contextlib.suppress(Interrupted):
        while True:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main())
