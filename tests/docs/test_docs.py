"""What the README and the pages of the site say is held against the code, and their snippets are run."""

from __future__ import annotations

import ast
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_provider_kumo import outputs
from airflow_provider_kumo.client import errors
from airflow_provider_kumo.client.config import AuthType, KumoConfig, config_from_connection
from airflow_provider_kumo.client.errors import KumoConfigurationError, KumoError
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.get_provider_info import get_provider_info
from airflow_provider_kumo.operators.gate import KumoMetricGateOperator
from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoCancelJobOperator, KumoRetrainOperator
from airflow_provider_kumo.sensors.kumo import KumoJobSensor
from airflow_provider_kumo.task_groups.kumo import retrain_and_predict
from airflow_provider_kumo.triggers.kumo_events import KumoModelTrainedTrigger

REPOSITORY = Path(__file__).parent.parent.parent
OFFICIAL_PYTHON = REPOSITORY / ".venv-kumoai" / "bin" / "python"
PAGES = {
    page.relative_to(REPOSITORY).as_posix(): page.read_text()
    for page in sorted((*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")))
}


def blocks(language: str, *pages: str) -> list[str]:
    """Return the code blocks of a language, of all pages if none is named."""
    texts = [PAGES[page] for page in pages or PAGES]
    return [
        textwrap.dedent(block[2])
        for text in texts
        for block in re.finditer(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    ]


def section(page: str, heading: str) -> str:
    text = _without_code(PAGES[page])
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {heading!r}"
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """Return the rows of the first table by their first cell."""
    lines = [line for line in re.split(r"\n\n", text[text.index("\n|") + 1 :])[0].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0]: row[1:] for row in rows}


def _without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


class TestArguments:
    """The tables against the constructors."""

    @pytest.mark.parametrize(
        ("page", "operator"),
        [
            ("retrain", KumoRetrainOperator),
            ("predict", KumoBatchPredictOperator),
            ("cancel", KumoCancelJobOperator),
            ("gate", KumoMetricGateOperator),
            ("sensor", KumoJobSensor),
        ],
    )
    def test_tables_name_every_argument_with_its_default_and_whether_it_is_templated(
        self, page: str, operator: type
    ) -> None:
        rows = table(section(f"docs/operators/{page}.md", "Arguments"))
        if operator in (KumoRetrainOperator, KumoBatchPredictOperator):
            rows |= table(section("docs/operators/index.md", "Arguments of both job operators"))
        told = {name.strip("`"): (cells[0], cells[1] == "yes") for name, cells in rows.items()}
        templated = set(operator.template_fields)
        assert told == {
            name: (_default(parameter.default), name in templated) for name, parameter in _parameters(operator).items()
        }

    def test_the_table_of_the_task_group_names_every_argument_with_its_default(self) -> None:
        rows = table(section("docs/operators/retrain-and-predict.md", "Arguments"))
        told = {name.strip("`"): cells[0] for name, cells in rows.items()}
        parameters = inspect.signature(retrain_and_predict.function).parameters
        assert told == {name: _default(parameter.default) for name, parameter in parameters.items()}

    def test_outputs_name_every_argument(self) -> None:
        rows = table(section("docs/outputs.md", "Outputs"))
        functions = _output_functions()
        assert {name.strip("`") for name in rows} == set(functions)
        for name, function in functions.items():
            told = re.findall(r"`(\w+)`", rows[f"`{name}`"][0])
            assert sorted(told) == sorted(inspect.signature(function).parameters)

    def test_the_watchers_table_names_every_argument_with_its_default(self) -> None:
        rows = table(section("docs/data-aware.md", "Predict when a person has retrained in Kumo"))
        assert {name.strip("`"): cells[0] for name, cells in rows.items()} == {
            name: _default(parameter.default) for name, parameter in _parameters(KumoModelTrainedTrigger).items()
        }

    def test_no_page_names_an_argument_that_is_not_there(self) -> None:
        known = {name for operator in _DOCUMENTED for name in _parameters(operator)}
        known |= {name for function in _output_functions().values() for name in inspect.signature(function).parameters}
        known |= {"retries", "retry_policy", "trigger_rule", "soft_fail", "max_active_tis_per_dag", "pool"}
        known |= {"speed", "rbac", "pquery_name", "safe_to_repeat"}
        for page, text in PAGES.items():
            told = set(re.findall(r"`(\w+)=[^`]*`", _without_code(text)))
            assert {name for name in told if not name.isupper()} - known == set(), page

    def test_no_page_names_a_variable_that_nothing_reads(self) -> None:
        folders = ("dev", "tests/faults")
        code = [file.read_text() for folder in folders for file in (REPOSITORY / folder).rglob("*.*y")]
        read = set(re.findall(r"\w+", "".join([*code, (REPOSITORY / "Makefile").read_text()])))
        for page, text in PAGES.items():
            told = set(re.findall(r"\b([A-Z][A-Z_]+)=", text)) | set(re.findall(r"`([A-Z_]+)`", text)) & read
            assert {name for name in told if not name.startswith("AIRFLOW_")} - read == set(), page


def _output_functions() -> dict[str, Any]:
    return {
        name: found
        for name, found in inspect.getmembers(outputs, inspect.isfunction)
        if not name.startswith("_") and found.__module__ == outputs.__name__
    }


_DOCUMENTED = (
    KumoRetrainOperator,
    KumoBatchPredictOperator,
    KumoCancelJobOperator,
    KumoMetricGateOperator,
    KumoJobSensor,
    KumoModelTrainedTrigger,
)


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


CONNECTION = "docs/connection.md"


class TestConnection:
    """The forms of the connection, as Airflow reads them."""

    @pytest.fixture
    def forms(self) -> dict[str, str]:
        values = re.findall(r"AIRFLOW_CONN_KUMO_DEFAULT='(.*)'$", "".join(blocks("sh", CONNECTION)), re.MULTILINE)
        [uri, as_json] = values
        return {"uri": uri, "json": as_json}

    def test_uri_json_and_secrets_backend_are_the_same_connection(
        self, forms: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.secrets.local_filesystem import LocalFilesystemBackend

        file = tmp_path / "connections.json"
        file.write_text(next(block for block in blocks("json", CONNECTION) if "conn_type" in block))
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

    @pytest.mark.parametrize(
        ("page", "wanted"),
        [
            ("README.md", KumoConfig(base_url="https://acme.kumoai.cloud/api", secret="acme:s3cret")),
            (
                "docs/howto/snowflake.md",
                KumoConfig(
                    base_url="https://abc-xyz.snowflakecomputing.app/api",
                    secret="<session-token>",
                    auth_type=AuthType.SNOWFLAKE,
                ),
            ),
        ],
    )
    def test_other_pages_show_connections_that_work(
        self, page: str, wanted: KumoConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [value] = re.findall(r"AIRFLOW_CONN_KUMO_DEFAULT='(.*)'$", "".join(blocks("sh", page)), re.MULTILINE)
        monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", value)
        assert _config(_connection("kumo_default")) == wanted

    def test_the_secrets_backend_is_one_of_airflow(self) -> None:
        text = "".join(blocks("sh", CONNECTION))
        backend = re.search(r"^export AIRFLOW__SECRETS__BACKEND=(\S+)$", text, re.MULTILINE)
        kwargs = re.search(r"^export AIRFLOW__SECRETS__BACKEND_KWARGS='(.*)'$", text, re.MULTILINE)
        assert backend
        assert kwargs
        inspect.signature(pkgutil.resolve_name(backend[1])).bind(**json.loads(kwargs[1]))

    def test_every_extra_is_told_with_its_default(self) -> None:
        [connection_type] = get_provider_info()["connection-types"]
        fields = {name: field["schema"].get("default", "") for name, field in connection_type["conn-fields"].items()}
        told = {name.strip("`"): cells[0].strip("`") for name, cells in table(section(CONNECTION, "Extras")).items()}
        assert told == {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fields.items()
        }

    def test_told_defaults_are_those_of_the_client(self) -> None:
        told = {name.strip("`"): cells[0].strip("`") for name, cells in table(section(CONNECTION, "Extras")).items()}
        extra = {name: value for name, value in told.items() if value}
        assert _host("acme.kumoai.cloud", extra) == _host("acme.kumoai.cloud", {})

    def test_hosts_become_what_is_said(self) -> None:
        rows = table(section(CONNECTION, "Host forms"))
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
    rows = table(section("docs/errors.md", "Exceptions")).values()
    told = {exception.strip("`"): retried == "yes" for exception, _, retried in rows if exception.startswith("`Kumo")}
    # KumoError and the three below are what others share; they are never raised themselves.
    shared = (errors.KumoError, errors.KumoAnswerError, errors.KumoJobError)
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, KumoError)]
    assert told == {found.__name__: found.retryable for found in classes if found not in shared}


def test_the_result_has_the_keys_that_are_shown() -> None:
    shown = json.loads(next(block for block in blocks("json", "docs/result.md") if "tracking_url" in block))
    assert list(shown) == list(Job(id="x", kind=JobKind.TRAINING, status="DONE").result())
    assert shown["status"] == "DONE"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = PAGES[page]
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


EXAMPLES = {file.name: file.read_text() for file in (REPOSITORY / "example_dags").glob("*.py")}


class TestWhatIsShownTwice:
    """Pages hold their code themselves, as they are read on GitHub and in a clone too."""

    def test_below_a_link_to_an_example_stands_the_example(self) -> None:
        shown = [found for text in PAGES.values() for found in _LINK_AND_CODE.findall(text)]
        assert len(shown) >= 8
        for name, code in shown:
            assert code == EXAMPLES[name], name

    @pytest.mark.parametrize("page", PAGES)
    def test_no_page_is_filled_in_when_the_site_is_built(self, page: str) -> None:
        assert "--8<--" not in PAGES[page]
        for link in re.finditer(r"^ *\[[^\]\n]*\]\([^)\s]+\)\n$", PAGES[page], re.MULTILINE):
            assert _LINK_AND_CODE.match(PAGES[page], link.start()), f"{page} has only {link[0].strip()}"

    def test_the_first_dag_is_the_same_on_each_page(self) -> None:
        found = [blocks("python", page) for page in ("README.md", "docs/index.md", "docs/quickstart.md")]
        assert found == [found[0]] * 3
        assert len(found[0]) == 1

    def test_what_is_not_met_yet_is_the_same_on_each_page(self) -> None:
        readme = section("README.md", "Not met yet").replace("](docs/", "](")
        assert section("docs/limits.md", "Not met yet") == readme


_LINK_AND_CODE = re.compile(
    r"^\[\w+\.py\]\((?:\.\./)+example_dags/(\w+\.py)\)\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def test_every_make_target_that_is_told_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    told = re.findall(r"(?:`|^ *)make ([a-z][\w-]*)", "\n".join(PAGES.values()), re.MULTILINE)
    assert {"demo", "test"} <= set(told)
    for target in told:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_every_module_that_airflow_is_told_of_has_a_reference_page() -> None:
    info = get_provider_info()
    told = {module for rooms in info.values() if isinstance(rooms, list) for module in _python_modules(rooms)}
    shown = set(re.findall(r"^::: (\S+)$", "\n".join(PAGES.values()), re.MULTILINE))
    assert told - shown == set()


def _python_modules(rooms: list[Any]) -> list[str]:
    return [module for room in rooms if isinstance(room, dict) for module in room.get("python-modules", [])]


class TestTheWayFromTheSdk:
    """What the page about Kumo's own client says of it, held against that client."""

    PAGE = "docs/howto/from-the-sdk.md"

    def test_the_task_before_runs_with_the_client(self, kumo_emulator: Any) -> None:
        [before] = [block for block in blocks("python", self.PAGE) if block.startswith("# before/")]
        [task] = [found for found in ast.walk(ast.parse(before)) if isinstance(found, ast.FunctionDef)]
        task.decorator_list = []
        [first] = kumo_emulator.add_past_jobs("churn_30d", 1)
        program = f"{_IMPATIENT}\n{ast.unparse(task)}\nprint('\\ntrained', {task.name}({first!r}))"
        printed = _official(program, KUMO_URL=kumo_emulator.url, KUMO_KEY=kumo_emulator.api_key)
        [trained] = re.findall(r"^trained (\S+)$", printed, re.MULTILINE)
        assert kumo_emulator.jobs("prediction")[-1].config["model_training_job_id"] == trained != first

    def test_the_table_names_what_the_client_has(self) -> None:
        cells = table(section(self.PAGE, "What becomes of what"))
        told = [code.replace("…", "...") for cell in cells for code in re.findall(r"`([^`]+)`", cell)]
        assert len(told) > 10
        _official(_LOOK_UP + f"\nfor code in {told!r}: look_up(code)")


def _official(program: str, **variables: str) -> str:
    if not OFFICIAL_PYTHON.exists():
        pytest.fail(f"Kumo's own client is not in {OFFICIAL_PYTHON}; run: make kumo-clients", pytrace=False)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | variables
    run = subprocess.run(
        [OFFICIAL_PYTHON, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    return run.stdout


# The client looks at a job every ten or twenty seconds; here a training takes less than one.
_IMPATIENT = """
import asyncio, os, time

sleep, asleep = time.sleep, asyncio.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.1))
asyncio.sleep = lambda seconds: asleep(min(seconds, 0.1))
"""
# Fails for a name or a keyword argument that the client does not have.
_LOOK_UP = """
import ast, inspect, kumoai
from kumoai.trainer.job import TrainingJobResult

roots = {
    "kumoai": kumoai, "graph": kumoai.Graph, "fit": kumoai.Trainer.fit, "predict": kumoai.Trainer.predict,
    "TrainingJobResult": TrainingJobResult,
} | {name: getattr(kumoai, name) for name in ("PredictiveQuery", "Trainer", "TrainingJob")}


def look_up(code):
    match ast.parse(code, mode="eval").body:
        case ast.Call(func=func, keywords=keywords):
            found = resolve(func)
            names = inspect.signature(found).parameters
            assert all(keyword.arg in names for keyword in keywords), code
        case ast.Name(id=name) if name not in roots:
            assert name in inspect.signature(kumoai.Trainer.predict).parameters, code
        case node:
            resolve(node)


def resolve(node):
    match node:
        case ast.Name(id=name):
            return roots[name]
        case ast.Call(func=func):
            return resolve(func)
        case ast.Attribute(value=value, attr=attr):
            return getattr(resolve(value), attr)
"""


def test_fragments_stand_in_a_dag() -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    names = {operator.__name__: operator for operator in _DOCUMENTED} | _output_functions()
    names |= {"Any": Any, "task": task, "retrain_and_predict": retrain_and_predict}
    fragments = [block for block in blocks("python") if _is_fragment(block)]
    assert fragments
    for fragment in fragments:
        with DAG(dag_id="fragment", schedule=None):
            exec(fragment, {**names, "retrain": KumoRetrainOperator(task_id="trained", pquery_id="churn_30d")})


def _is_fragment(block: str) -> bool:
    """Tell a few lines of a DAG from a file."""
    return "import" not in block


@pytest.mark.skipif(sys.platform == "win32", reason="Airflow does not run there")
def test_snippets_run_in_a_project_of_their_own(tmp_path: Path) -> None:
    """Do what the pages say: DAGs into the DAGs folder, ``airflow db migrate``, pytest with the fixture."""
    pytest.importorskip("airflow.sdk", reason="the snippets import what Airflow has since 3.0")
    pytest.importorskip("airflow.dag_processing.dagbag", reason="the test imports what Airflow has since 3.2")
    scripts = []
    # The first DAG is on three pages.
    for block in dict.fromkeys(blocks("python")):
        if _is_fragment(block) or block.startswith("# before/") or block in EXAMPLES.values():
            continue
        place = re.match(r"# ((?:dags|tests)/\w+\.py)\n", block)
        if place is None:
            scripts.append(block)
            continue
        file = tmp_path / place[1]
        assert not file.exists(), f"{place[1]} is shown twice"
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
from airflow.sdk import DAG

RUN_BY_OTHER_TESTS = {"churn_nightly", "churn_weekly"}
ALL = sorted(Path("dags").glob("*.py"))
# dag.test() brings no event of an asset: they are started by hand.
AWAITS_ASSETS = [file for file in ALL if "schedule=[" in file.read_text()]
FILES = [file for file in ALL if file.stem not in RUN_BY_OTHER_TESTS and file not in AWAITS_ASSETS]


@pytest.mark.parametrize("file", AWAITS_ASSETS, ids=str)
def test_a_dag_that_awaits_assets_can_be_started_by_hand(kumo_emulator, file):
    bag = DagBag(str(file))
    assert not bag.import_errors
    [dag] = bag.dags.values()
    model = kumo_emulator.jobs("training")[0].id
    assert dag.test(run_conf={"training_job_id": model}).state == "success"
    assert kumo_emulator.jobs("prediction")[-1].config["model_training_job_id"] == model


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


@pytest.mark.parametrize(
    ("query", "told"), [("nothing", "Ask the owner of the query: "), ("churn_30d", "Look into it: Training job ")]
)
def test_the_callback_finds_the_cause(kumo_emulator, query, told):
    kumo_emulator.fail_next("training")
    dag = DagBag("dags/churn_told.py").dags["churn_told"]
    task = dag.get_task("retrain")
    task.pquery_id = query
    [callback] = task.on_failure_callback
    printed = []
    callback.__globals__["print"] = printed.append
    assert dag.test().state == "failed"
    [line] = printed
    assert line.startswith(told)


def test_a_dag_without_a_file_in_the_dags_folder_is_not_run():
    with DAG(dag_id="churn_without_a_file", schedule=None) as dag:
        pass
    with pytest.raises(Exception, match="for DAG churn_without_a_file because the dag is not serialized"):
        dag.test()


def test_the_script_runs(kumo_emulator, capsys):
    exec(compile(Path("script.py").read_text(), "script.py", "exec"), {})
    assert "trainingjob-" in capsys.readouterr().out
"""
