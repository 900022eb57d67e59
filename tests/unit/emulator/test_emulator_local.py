from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

import pytest

from airflow_provider_kumo.emulator import __main__ as command
from airflow_provider_kumo.emulator.local import LocalKumo

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(kumo: LocalKumo, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
    request = urllib.request.Request(
        f"{kumo.url}/v1/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-API-Key": key or kumo.api_key},
    )
    with OPENER.open(request, timeout=5) as response:
        return json.load(response)


def train(kumo: LocalKumo) -> str:
    return ask(kumo, "POST", "training_jobs", {"job_tags": {}, "pquery_id": "churn_30d"})["id"]


def test_the_fixture_points_airflow_at_it(kumo_emulator: LocalKumo) -> None:
    connection = json.loads(os.environ["AIRFLOW_CONN_KUMO_DEFAULT"])
    assert connection == kumo_emulator.connection
    assert connection["host"] == kumo_emulator.url == kumo_emulator.origin + "/api"
    assert connection["password"] == kumo_emulator.api_key
    assert connection["extra"] == {"poll_interval": 0.2}
    assert len(ask(kumo_emulator, "GET", "training_jobs")) == 3


@pytest.mark.kumo_emulator(rbac=True, key="mine:key", seed=7, speed=1.0)
def test_the_marker_decides_how_it_starts(kumo_emulator: LocalKumo) -> None:
    assert kumo_emulator.api_key == "mine:key"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(kumo_emulator, "GET", "training_jobs")
    assert kumo_emulator.connection["extra"]["project_id"] == "p1"
    assert len(ask(kumo_emulator, "GET", "training_jobs?group_id=g1&project_id=p1")) == 3


def test_a_job_runs_by_itself_and_can_be_waited_for(kumo_emulator: LocalKumo) -> None:
    job = train(kumo_emulator)
    kumo_emulator.wait_for(lambda: kumo_emulator.job(job).status == "DONE")


def test_every_action_works_from_the_thread_of_the_test(kumo_emulator: LocalKumo) -> None:
    kumo = kumo_emulator
    kumo.hold(kind="training")
    job = train(kumo)
    kumo.wait_for(lambda: kumo.job(job).status == "RUNNING")
    assert kumo.job(job).held
    kumo.advance(job, 1.0)
    kumo.finish(job)
    assert kumo.job(job).status == "DONE"
    kumo.release()
    kumo.fail_next(message="x")
    failing = train(kumo)
    kumo.wait_for(lambda: kumo.job(failing).status == "FAILED")
    kumo.reject_next()
    body = {"job_tags": {}, "model_training_job_id": job, "predict_options": {}}
    assert ask(kumo, "POST", "prediction_jobs", body)[0] is None
    kumo.hold()
    other = train(kumo)
    assert kumo.cancel(other) is True
    kumo.wait_for(lambda: kumo.job(other).status == "CANCELLED")
    third = train(kumo)
    kumo.fail(third)
    kumo.vanish(third)
    assert kumo.job(third).vanished
    assert kumo.add_query("mine") == "pquery-mine"
    assert len(kumo.add_past_jobs("mine", 3, tags={"a": "b"})) == 3
    kumo.set_list(order="oldest", cap=1)
    assert len(ask(kumo, "GET", "training_jobs?a=b")) == 1
    kumo.inject("status", path="connectors", status=503)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        ask(kumo, "GET", "connectors")
    kumo.inject("status", status=503)
    kumo.clear_faults()
    old = kumo.api_key
    assert kumo.rotate_key() == kumo.api_key != old
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(kumo, "GET", "connectors", key=old)
    assert kumo.requests[-1].status == 401
    kumo.clear_requests()
    assert kumo.requests == []
    assert {seen.kind for seen in kumo.jobs()} == {"training"}
    kumo.reset()
    assert len(kumo.jobs("training")) == 3


def test_a_request_wakes_whoever_waits(kumo_emulator: LocalKumo) -> None:
    other = threading.Thread(target=ask, args=(kumo_emulator, "GET", "groups"))
    other.start()
    kumo_emulator.wait_for(lambda: any(seen.path.endswith("/groups") for seen in kumo_emulator.requests))
    other.join()
    with pytest.raises(TimeoutError, match=r"within 0\.01 seconds"):
        kumo_emulator.wait_for(lambda: False, timeout=0.01)


def test_it_stops_and_frees_its_port() -> None:
    with LocalKumo() as kumo:
        port = int(kumo.origin.rsplit(":", 1)[1])
        with pytest.raises(RuntimeError, match="runs already"):
            kumo.start()
        with pytest.raises(OSError, match="in use"):
            LocalKumo(port=port).start()
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
    with pytest.raises(RuntimeError, match="does not run"):
        kumo.jobs()
    kumo.stop()


@pytest.mark.parametrize("options", [{"speed": 0}, {"speed": float("inf")}, {"key": ""}, {"key": "a\nb"}])
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"speed|key"):
        LocalKumo(**options)


def test_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, airflow_provider_kumo.emulator.pytest_plugin\n"
        "print([m for m in ('aiohttp', 'kumoapi', 'pydantic', 'airflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- the command -----------------------------------------------------------------------------------


def test_a_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalKumo() as kumo:
        port = kumo.origin.rsplit(":", 1)[1]
        assert command.main(["--port", port]) == 1
    assert capsys.readouterr().err == (f"kumo-emulator: port {port} on 127.0.0.1 is in use; try another with --port.\n")


def test_without_the_schema_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert command.main([]) == 2
    error = capsys.readouterr().err
    assert "pip install 'airflow-provider-kumo[emulator]'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--speed", "0"], ["--key", "a\nb"], ["--state", "/proc/none/state.json"], ["--state", "/"]]
)
def test_a_bad_argument_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*arguments, "--port", "0"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_it_greets_runs_and_stops_cleanly(tmp_path) -> None:
    arguments = [sys.executable, "-m", "airflow_provider_kumo.emulator", "--port", "0"]
    arguments += ["--state", str(tmp_path / "state.json"), "--key", "it's:mine"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]
    greeting = "".join(lines)
    assert "churn_30d, ltv_90d, next_purchase" in greeting
    export = next(line for line in lines if "export" in line)
    shell = subprocess.run(
        ["sh", "-c", export + 'printf %s "$AIRFLOW_CONN_KUMO_DEFAULT"'], capture_output=True, text=True, check=True
    )
    connection = json.loads(shell.stdout)
    assert connection["password"] == "it's:mine"
    request = urllib.request.Request(connection["host"] + "/v1/connectors", headers={"X-API-Key": "it's:mine"})
    with OPENER.open(request, timeout=5) as response:
        assert response.status == 200
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, "Stopping.\n", "")
    assert json.loads((tmp_path / "state.json").read_text())["key"] == "it's:mine"
