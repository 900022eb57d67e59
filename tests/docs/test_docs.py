"""What the README and the architecture page say is held against the code, and their snippets are run."""

from __future__ import annotations

import ast
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_provider_kumo import outputs
from airflow_provider_kumo.client import errors
from airflow_provider_kumo.client.config import KumoConfig, config_from_connection
from airflow_provider_kumo.client.errors import KumoConfigurationError, KumoError
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.get_provider_info import get_provider_info
from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoCancelJobOperator, KumoRetrainOperator
from airflow_provider_kumo.sensors.kumo import KumoJobSensor

REPOSITORY = Path(__file__).parent.parent.parent
README = (REPOSITORY / "README.md").read_text()
PAGES = sorted(
    page.relative_to(REPOSITORY).as_posix() for page in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"))
)
SHARED = "and, like KumoBatchPredictOperator:"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", _without_code(README), re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {heading!r}"
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """Return the rows of the first table by their first cell."""
    lines = [line for line in re.split(r"\n\n", text[text.index("\n|") + 1 :])[0].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0]: row[1:] for row in rows}


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


class TestArguments:
    """The tables against the constructors."""

    @pytest.mark.parametrize(
        "operator", [KumoRetrainOperator, KumoBatchPredictOperator, KumoCancelJobOperator, KumoJobSensor]
    )
    def test_tables_name_every_argument_with_its_default_and_whether_it_is_templated(self, operator: type) -> None:
        rows = table(section(operator.__name__))
        if operator in (KumoRetrainOperator, KumoBatchPredictOperator):
            rows |= table(section("KumoRetrainOperator").split(SHARED)[1])
        told = {name.strip("`"): (cells[0], cells[1] == "yes") for name, cells in rows.items()}
        templated = set(operator.template_fields)
        assert told == {
            name: (_default(parameter.default), name in templated) for name, parameter in _parameters(operator).items()
        }

    def test_outputs_name_every_argument(self) -> None:
        rows = table(section("Outputs"))
        functions = {
            name: found
            for name, found in inspect.getmembers(outputs, inspect.isfunction)
            if not name.startswith("_") and found.__module__ == outputs.__name__
        }
        assert {name.strip("`") for name in rows} == set(functions)
        for name, function in functions.items():
            told = re.findall(r"`(\w+)`", rows[f"`{name}`"][0])
            assert sorted(told) == sorted(inspect.signature(function).parameters)

    def test_it_never_names_an_argument_that_is_not_there(self) -> None:
        known = {name for operator in _DOCUMENTED for name in _parameters(operator)}
        known |= {"retries", "trigger_rule", "soft_fail", "max_active_tis_per_dag", "speed", "rbac", "pquery_name"}
        assert set(re.findall(r"`(\w+)=[^`]*`", _without_code(README))) - known == {"KUMO_API_KEY", "KUMO_HOST"} | {
            "PYTHON",
            "AIRFLOW",
            "ARGS",
            "AIRFLOW_PORT",
            "KUMO_PORT",
            "KUMO_SPEED",
            "KEEP",
        }


_DOCUMENTED = (KumoRetrainOperator, KumoBatchPredictOperator, KumoCancelJobOperator, KumoJobSensor)


def _parameters(operator: type) -> dict[str, inspect.Parameter]:
    """Return the constructor's own arguments: those of our classes, not those of Airflow."""
    ours = [cls for cls in operator.__mro__ if cls.__module__.startswith("airflow_provider_kumo")]
    found = {}
    for cls in ours:
        # Airflow wraps the constructors of operators; the original one stands behind the wrapper.
        for name, parameter in inspect.signature(inspect.unwrap(cls.__dict__["__init__"])).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                found.setdefault(name, parameter)
    return found


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, timedelta):
        minutes = int(value.total_seconds() // 60)
        return f"`timedelta(minutes={minutes})`" if minutes % 60 else f"`timedelta(hours={minutes // 60})`"
    return f"`{json.dumps(value)}`" if isinstance(value, str) else f"`{value!r}`"


class TestConnection:
    """The forms of the connection, as Airflow reads them."""

    @pytest.fixture
    def forms(self) -> dict[str, str]:
        values = re.findall(r"AIRFLOW_CONN_KUMO_DEFAULT='(.*)'$", "".join(blocks("sh")), re.MULTILINE)
        [uri, as_json] = values
        return {"uri": uri, "json": as_json}

    def test_uri_json_and_secrets_backend_are_the_same_connection(
        self, forms: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.secrets.local_filesystem import LocalFilesystemBackend

        file = tmp_path / "connections.json"
        file.write_text(next(block for block in blocks("json") if "conn_type" in block))
        found = [_config(LocalFilesystemBackend(connections_file_path=str(file)).get_connection("kumo_default"))]
        for form in forms.values():
            monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", form)
            found.append(_config(_connection("kumo_default")))
        wanted = KumoConfig(
            base_url="https://acme.kumoai.cloud/api",
            secret="acme:s3cret",
            scope={"group_id": "g1", "project_id": "p1"},
        )
        assert found == [wanted] * 3

    def test_the_secrets_backend_is_one_of_airflow(self) -> None:
        text = "".join(blocks("sh"))
        backend = re.search(r"^export AIRFLOW__SECRETS__BACKEND=(\S+)$", text, re.MULTILINE)
        kwargs = re.search(r"^export AIRFLOW__SECRETS__BACKEND_KWARGS='(.*)'$", text, re.MULTILINE)
        assert backend
        assert kwargs
        inspect.signature(pkgutil.resolve_name(backend[1])).bind(**json.loads(kwargs[1]))

    def test_every_extra_is_told_with_its_default(self) -> None:
        [connection_type] = get_provider_info()["connection-types"]
        fields = {name: field["schema"].get("default", "") for name, field in connection_type["conn-fields"].items()}
        told = {name.strip("`"): cells[0].strip("`") for name, cells in table(section("Extras")).items()}
        assert told == {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fields.items()
        }

    def test_told_defaults_are_those_of_the_client(self) -> None:
        told = {name.strip("`"): cells[0].strip("`") for name, cells in table(section("Extras")).items()}
        extra = {name: value for name, value in told.items() if value}
        assert _host("acme.kumoai.cloud", extra) == _host("acme.kumoai.cloud", {})

    def test_hosts_become_what_is_said(self) -> None:
        rows = table(section("Host forms"))
        assert len(rows) == 6
        for cell, [becomes] in rows.items():
            host = "" if cell.startswith("*(empty)*") else cell.strip("`")
            if becomes.startswith("refused"):
                with pytest.raises(KumoConfigurationError, match="allow_http"):
                    _host(host, {})
                assert _host(host, {"allow_http": True}).base_url == host
            else:
                assert _host(host, {}).base_url == becomes.strip("`")


def _connection(conn_id: str) -> Any:
    from airflow.providers.common.compat.sdk import BaseHook

    return BaseHook.get_connection(conn_id)


def _config(connection: Any) -> KumoConfig:
    return config_from_connection(
        conn_id="kumo_default",
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        password=connection.password,
        extra=connection.extra_dejson,
    )


def _host(host: str, extra: dict[str, Any]) -> KumoConfig:
    return config_from_connection(
        conn_id="kumo_default", host=host, port=None, schema=None, password="acme:s3cret", extra=extra
    )


def test_every_exception_is_told_with_what_airflow_does() -> None:
    rows = table(section("When something fails")).values()
    told = {exception.strip("`"): retried == "yes" for exception, _, retried in rows if exception.startswith("`Kumo")}
    # KumoError and the three below are what others share; they are never raised themselves.
    shared = (errors.KumoError, errors.KumoAnswerError, errors.KumoJobError)
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, KumoError)]
    assert told == {found.__name__: found.retryable for found in classes if found not in shared}


def test_the_result_has_the_keys_that_are_shown() -> None:
    shown = json.loads(next(block for block in blocks("json") if "tracking_url" in block))
    assert list(shown) == list(Job(id="x", kind=JobKind.TRAINING, status="DONE").result())
    assert shown["status"] == "DONE"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", _without_code(text)) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if link.startswith("http"):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = REPOSITORY / page if not path else (REPOSITORY / page).parent / path
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page} links to {link}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes from headings."""
    headings = re.findall(r"^#+ (.*)$", _without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_make_target_that_is_told_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    told = re.findall(r"(?:`|^)make ([a-z][\w-]*)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(told)
    for target in told:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


@pytest.mark.skipif(sys.platform == "win32", reason="Airflow does not run there")
def test_snippets_run_in_a_project_of_their_own(tmp_path: Path) -> None:
    """Do what the README says: DAGs into the DAGs folder, ``airflow db migrate``, pytest with the fixture."""
    pytest.importorskip("airflow.sdk", reason="the snippets import what Airflow has since 3.0")
    pytest.importorskip("airflow.dag_processing.dagbag", reason="the test imports what Airflow has since 3.2")
    scripts = []
    for block in blocks("python"):
        ast.parse(block)
        place = re.match(r"# ((?:dags|tests)/\w+\.py)\n", block)
        if place is None:
            scripts.append(block)
            continue
        file = tmp_path / place[1]
        file.parent.mkdir(exist_ok=True)
        file.write_text(block)
    assert len(list((tmp_path / "dags").iterdir())) >= 4
    [script] = scripts
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "tests" / "test_the_rest.py").write_text(_RUN_THE_REST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_"))}
    env |= {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    for command in (["airflow", "db", "migrate"], ["pytest", "-q", "tests"]):
        run = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]


_RUN_THE_REST = """
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

RUN_BY_OTHER_TESTS = {"churn_nightly", "churn_weekly"}
FILES = [file for file in sorted(Path("dags").glob("*.py")) if file.stem not in RUN_BY_OTHER_TESTS]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_dag_runs(kumo_emulator, file):
    bag = DagBag(str(file))
    assert not bag.import_errors
    [dag] = bag.dags.values()
    run = dag.test()
    assert run.state == "success"
    assert {str(ti.state) for ti in run.get_task_instances()} == {"success"}


def test_the_partition_placeholder_reaches_kumo(kumo_emulator):
    assert DagBag("dags/churn_nightly.py").dags["churn_nightly"].test().state == "success"
    table, file = kumo_emulator.jobs("prediction")[-1].config["outputs"]
    assert table["write_mode"] == "APPEND"
    assert file["file_path"].endswith("/part-{{PARTITION}}.parquet")


def test_the_script_runs(kumo_emulator, capsys):
    exec(compile(Path("script.py").read_text(), "script.py", "exec"), {})
    assert "trainingjob-" in capsys.readouterr().out
"""
