"""What opens Kumo to whoever sees it is nowhere in what a real Airflow leaves behind, with all logs at DEBUG."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_kumo.emulator.local import LocalKumo
from dev.airflow_api import AirflowError
from dev.airflow_stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Iterator

# With what base64, URLs, JSON and Python's repr write otherwise.
KEY = 'acme:s3cr/t+0123"456789=='
DAG_IDS = ("secrets_key", "secrets_token")
ENDED = {"success", "failed", "skipped", "upstream_failed"}


def forms(secret: str) -> Iterator[bytes]:
    """Return a secret as it would look in any file."""
    raw = secret.encode()
    yield from (form.encode() for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)))
    yield json.dumps(secret)[1:-1].encode()
    yield repr(secret)[1:-1].encode()
    for offset in range(3):
        # Within something longer, three different texts may stand for it.
        inner = base64.b64encode(b"\0" * offset + raw)[4 if offset else 0 : -4]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def leaks(folder: Path, secrets: list[str]) -> list[str]:
    """Return where any form of a secret stands in any file."""
    wanted = {form for secret in secrets for form in forms(secret)}
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.relative_to(folder)}: {_around(content, form)}" for form in wanted if form in content]
    return found


def _around(content: bytes, form: bytes) -> str:
    at = content.index(form)
    return content[max(0, at - 150) : at + len(form) + 20].decode(errors="replace")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LocalKumo, AirflowStack]]:
    """Run every DAG of secrets to its end, and stop Airflow: what is left on its disk."""
    home = tmp_path_factory.mktemp("airflow")
    with LocalKumo(speed=3000, key=KEY) as kumo:
        airflow = AirflowStack(
            home,
            Path(__file__).parent / "secrets",
            settings={"logging": {"logging_level": "DEBUG", "celery_logging_level": "DEBUG"}},
        )
        with airflow:
            airflow.wait_for_dags(set(DAG_IDS), seconds=120)
            _make_connection(airflow, kumo, "kumo_key")
            _make_connection(airflow, kumo, "kumo_token", auth_type="snowflake")
            # A server that repeats what it was sent, as many proxies do.
            kumo.inject("status", status=503, body=json.dumps({"detail": f"Bad key {KEY}"}), count=4)
            kumo.inject("status", status=401, body=f"Token={KEY}", path="/training_jobs/", count=2, after=20)
            runs = [(dag_id, airflow.trigger(dag_id)) for dag_id in DAG_IDS]
            _wait(airflow, runs)
            states = {run: _states(airflow, *run) for run in runs}
        assert all(
            found
            == {
                "retrain": "success",
                "blocking": "success",
                "predict": "success",
                "refused": "failed",
                "files": "failed",
            }
            for found in states.values()
        ), states
        yield home, kumo, airflow


def _make_connection(airflow: AirflowStack, kumo: LocalKumo, name: str, **extra: Any) -> None:
    wanted = kumo.connection
    body = {
        "connection_id": name,
        "conn_type": "kumo",
        "host": wanted["host"],
        "password": KEY,
        "extra": json.dumps({**wanted["extra"], "poll_interval": 3, **extra}),
    }
    airflow.request("POST", "connections", json=body)


def _states(airflow: AirflowStack, dag_id: str, run_id: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in airflow.task_instances(dag_id, run_id)}


def _wait(airflow: AirflowStack, runs: list[tuple[str, str]]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with suppress(AirflowError):
            if all(state in ENDED for run in runs for state in _states(airflow, *run).values()):
                return
        time.sleep(1)
    raise AirflowError(f"Waited 300 s for the end of {runs}")


def test_the_key_is_in_no_file_of_airflows(left: tuple[Path, LocalKumo, AirflowStack]) -> None:
    home, kumo, _ = left
    assert any(request.status == 503 for request in kumo.requests)
    assert leaks(home, [KEY]) == []


def test_presigned_urls_are_in_no_log_of_a_task_and_not_in_the_database(
    left: tuple[Path, LocalKumo, AirflowStack],
) -> None:
    """A worker's console is Airflow's: there it repeats a task's log without masking what the task asked to mask."""
    home, kumo, _ = left
    assert sum(request.path.endswith("/get_prediction_df_urls") for request in kumo.requests) == len(DAG_IDS)
    found = [leak for leak in leaks(home, ["X-Amz-Signature="]) if not leak.startswith("output/")]
    assert found == []


def test_the_logs_and_the_database_are_there_and_tell_of_the_jobs(left: tuple[Path, LocalKumo, AirflowStack]) -> None:
    """Else the tests above would hold of an empty folder."""
    home, kumo, _ = left
    ours = [job.id for job in kumo.jobs() if "airflow_task_key" in job.tags]
    assert len(ours) == 6
    logs = b"".join(path.read_bytes() for path in home.rglob("*.log"))
    # SQLite keeps what was written last in a file beside the database.
    database = b"".join(path.read_bytes() for path in home.glob("airflow.db*"))
    assert [job for job in ours if job.encode() not in logs] == []
    assert [job for job in ours if job.encode() not in database] == []
    assert b"DEBUG" in logs or b'"debug"' in logs
    assert b"Loading ***" in logs
