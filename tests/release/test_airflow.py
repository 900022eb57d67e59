"""The wheel alone, in a clean environment of every Airflow."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_kumo import __version__
from tests.release import environments
from tests.release.environments import AIRFLOWS, REPOSITORY, Environment

LOOK = Path(__file__).parent / "programs" / "look.py"
# The two that run at once have an Airflow each.
EACH = [pytest.param(airflow, marks=pytest.mark.xdist_group(airflow)) for airflow in AIRFLOWS]

Report = dict[str, Any]


@pytest.fixture(scope="session", params=EACH)
def environment(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environments.make(request.param, wheel, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def report(environment: Environment, sdist: Path) -> Report:
    """Return what a program sees in the environment that imports all of ours there."""
    file = environment.scratch / "report.json"
    examples = [str(dag) for dag in sorted((sdist / "example_dags").glob("*.py"))]
    assert examples
    # -I: neither the current folder nor PYTHONPATH nor the user's own packages.
    run = environment.run("python", "-I", str(LOOK), str(file), *examples)
    assert run.returncode == 0, run.stdout + run.stderr
    found: Report = json.loads(file.read_text())
    return found


def test_what_is_imported_is_the_wheel_and_nothing_of_the_checkout(environment: Environment, report: Report) -> None:
    packages = str(environment.folder / "lib")
    assert report["files"]
    assert all(file.startswith(packages) for file in report["files"])
    # The folder of the program itself is not on the path either.
    assert all(path.startswith(packages) or not Path(path).is_relative_to(REPOSITORY) for path in report["search path"])
    assert report["airflow"] == environment.airflow
    assert not {"pytest", "mypy", "hatchling", "editables", "kumo-api"} & set(report["installed"])


def test_one_version(report: Report) -> None:
    assert {report["version"], report["__version__"], report["provider"]} == {__version__}


def test_what_it_asks_for_fits_together(environment: Environment) -> None:
    environments.uv("pip", "check", "--python", str(environment.folder))


def test_everything_that_the_metadata_names_is_there(report: Report) -> None:
    assert "airflow_provider_kumo.operators.kumo" in report["paths"]
    assert {path: trouble for path, trouble in report["paths"].items() if trouble} == {}


def test_every_module_can_be_imported_with_what_the_wheel_asks_for(report: Report) -> None:
    # What makes lineage is loaded by Airflow's OpenLineage provider alone, for which the wheel does not ask.
    lineage = "airflow_provider_kumo.lineage"
    assert "No module named 'airflow.providers.openlineage'" in report["modules"][lineage]
    assert {name: trouble for name, trouble in report["modules"].items() if trouble and name != lineage} == {}


def test_the_example_dags_are_parsed(report: Report) -> None:
    assert {name: trouble for name, trouble in report["dags"].items() if trouble} == {}


def test_airflow_takes_the_metadata(report: Report) -> None:
    jsonschema.validate(report["info"], report["schemas"]["provider_info.schema.json"])


def test_the_connection_form_is_written_as_airflow_wants_it(report: Report) -> None:
    """``provider_info.schema.json`` leaves the form open; the schema that Airflow's own providers obey does not."""
    [connection_type] = report["info"]["connection-types"]
    schema = report["schemas"]["provider.yaml.schema.json"]["properties"]["connection-types"]
    if "conn-fields" not in schema["items"]["properties"]:
        assert tuple(map(int, report["airflow"].split("."))) < (3, 2)
        return
    jsonschema.validate([connection_type], schema)
    for field in connection_type["conn-fields"].values():
        jsonschema.Draft7Validator.check_schema(field["schema"])
        if "default" in field["schema"]:
            jsonschema.validate(field["schema"]["default"], field["schema"])


def test_airflow_knows_the_provider(report: Report) -> None:
    assert report["hook"] == "Kumo"
    assert report["links"] == sorted(report["info"]["extra-links"])


def test_airflow_lists_the_provider(environment: Environment) -> None:
    run = environment.run("airflow", "providers", "get", "airflow-provider-kumo", "--output", "json")
    assert run.returncode == 0, run.stdout + run.stderr
    # Airflow 2.11 and 3.0 log to stdout, too.
    [provider] = json.loads(run.stdout[run.stdout.rindex('[{"') :])
    assert provider["Provider"] == "airflow-provider-kumo"
    assert provider["Version"] == __version__


def test_entry_points(report: Report) -> None:
    assert report["entry points"] == {
        "apache_airflow_provider": ["airflow_provider_kumo.get_provider_info:get_provider_info"],
        "console_scripts": ["airflow_provider_kumo.emulator.__main__:main"],
        "pytest11": ["airflow_provider_kumo.emulator.pytest_plugin"],
    }


def test_without_its_extra_the_local_kumo_says_what_is_missing(environment: Environment) -> None:
    assert environment.run("kumo-emulator", "--version").stdout == f"kumo-emulator {__version__}\n"
    assert "--speed" in environment.run("kumo-emulator", "--help").stdout
    run = environment.run("kumo-emulator", "--port", "0")
    assert run.returncode == 2
    [sentence] = run.stderr.splitlines()
    assert "pip install 'airflow-provider-kumo[emulator]'" in sentence


def test_with_its_extra_the_local_kumo_answers(
    environment: Environment, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("emulator")
    own = environments.make(environment.airflow, wheel, scratch, extra="emulator")
    assert "--speed" in own.run("kumo-emulator", "--help").stdout
    with subprocess.Popen(
        [str(own.folder / "bin" / "kumo-emulator"), "--port", "0"],
        cwd=scratch,
        env=own.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            jobs = re.search(r"jobs: (http://\S+)\)", greeting)
            assert jobs, greeting
            with urllib.request.urlopen(jobs[1], timeout=30) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


TYPED_DAG = """
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator
from airflow_provider_kumo.outputs import snowflake

with DAG(dag_id="typed", schedule="@weekly", start_date=datetime(2026, 1, 1), catchup=False):
    retrain = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", timeout=timedelta(hours=3))
    predict = KumoBatchPredictOperator(
        task_id="predict", pquery_id="churn_30d", outputs=[snowflake(connector_id="c", table_name="CHURN")]
    )
    retrain >> predict
"""


def test_mypy_reads_the_types_of_the_wheel(environment: Environment) -> None:
    good = environment.scratch / "typed_dag.py"
    good.write_text(TYPED_DAG)
    wrong = environment.scratch / "wrong_dag.py"
    wrong.write_text(TYPED_DAG.replace('"retrain", pquery_id="churn_30d"', '"retrain", pquery_id=30'))
    run = subprocess.run(
        [
            *[sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"],
            *["--python-executable", str(environment.python)],
            *["--cache-dir", str(environments.CACHE / f"mypy-{environment.airflow}")],
            *[str(good), str(wrong)],
        ],
        cwd=environment.scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    # The one error is that of the wrong DAG.
    wanted = r'wrong_dag\.py:\d+: error: Argument "pquery_id" to "KumoRetrainOperator" has incompatible type.*\n'
    assert re.fullmatch(wanted, run.stdout), run.stdout + run.stderr
