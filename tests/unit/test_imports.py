"""What a DAG file costs the processes that parse it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import airflow
import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "example_dags").glob("*.py"))
TARGETS = [
    "airflow_provider_kumo.operators.kumo",
    "airflow_provider_kumo.operators.gate",
    "airflow_provider_kumo.sensors.kumo",
    "airflow_provider_kumo.task_groups.kumo",
    "airflow_provider_kumo.notifications.kumo",
    "airflow_provider_kumo.outputs",
    *(str(path) for path in EXAMPLES),
]
# Loads each target as a DAG file is loaded, after Airflow and in a process of its own, and tells what came with it.
# A fork for each, because Airflow takes a second to load.
PROBE = """
import json, os, runpy, socket, sys, traceback
import airflow.providers.common.compat.sdk
if airflow.__version__.startswith("2."):
    import airflow.models, airflow.sensors.base
else:
    import airflow.sdk
if airflow.__version__.startswith("3.0."):
    import airflow.models.baseoperator  # brings aiohttp as soon as there is an operator
before = set(sys.modules)
socket.socket.connect = socket.getaddrinfo = None
for target in sys.argv[1:]:
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    try:
        runpy.run_path(target) if target.endswith(".py") else __import__(target)
        print(json.dumps([target, sorted(set(sys.modules) - before)]), flush=True)
    except BaseException:
        print(json.dumps([target, ["failed: " + traceback.format_exc()]]), flush=True)
    os._exit(0)
"""
HTTP_LIBRARIES = {"aiohttp", "requests", "urllib3", "yarl", "multidict"}
HEAVY = HTTP_LIBRARIES | {"kumoapi", "kumoai"}
AT_RUN_TIME = {
    f"airflow_provider_kumo.{name}"
    for name in ("client.sync", "client.aio", "client.waiting", "triggers.kumo", "hooks.kumo", "emulator")
}


def told_by(*argv: str) -> list[list]:
    done = subprocess.run([sys.executable, "-c", *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    return {target: set(modules) for target, modules in told_by(PROBE, *TARGETS)}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: Path(target).name)
def test_parsing_loads_no_http_library_and_opens_nothing(loaded, target):
    assert not [name for name in loaded[target] if name.startswith("failed")]
    assert not {name for name in loaded[target] if name.partition(".")[0] in HEAVY}
    assert not loaded[target] & AT_RUN_TIME


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_load_the_operators(loaded, path):
    assert loaded[str(path)] & {"airflow_provider_kumo.operators.kumo", "airflow_provider_kumo.sensors.kumo"}


def test_the_provider_metadata_loads_the_form_and_nothing_else_of_ours_or_of_airflow():
    (modules,) = told_by(
        "import json, sys, airflow_provider_kumo.get_provider_info\n"
        "print(json.dumps([name for name in sys.modules if 'kumo' in name or 'airflow' in name]))"
    )
    ours = {
        "airflow_provider_kumo",
        *(f"airflow_provider_kumo.{name}" for name in ("connection_form", "get_provider_info")),
    }
    assert set(modules) == ours


@pytest.mark.skipif(airflow.__version__.startswith(("2.", "3.0.")), reason="a bare Airflow is less there")
@pytest.mark.parametrize("target", ["airflow_provider_kumo.operators.kumo", "airflow_provider_kumo.triggers.kumo"])
def test_operators_and_triggers_bring_few_modules(target):
    (modules,) = told_by(
        "import importlib, json, sys, airflow.sdk\n"
        # What every DAG file loads; airflow.sdk itself loads its names at first use.
        "from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator\n"
        "import airflow.triggers.base\n"
        "before = set(sys.modules)\n"
        f"importlib.import_module({target!r})\n"
        "print(json.dumps(['modules', *(set(sys.modules) - before)]))"
    )
    assert len(modules) <= 40, sorted(modules)


def test_there_are_examples_to_parse():
    assert len(EXAMPLES) >= 4
