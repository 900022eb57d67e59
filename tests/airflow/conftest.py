"""Runs DAGs in a real Airflow: in this process with ``dag.test()``, or under a real scheduler and triggerer."""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_3_PLUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REPOSITORY = Path(__file__).parent.parent.parent
FILES = (*(REPOSITORY / "example_dags").glob("*.py"), *(Path(__file__).parent / "dags").glob("*.py"))


@dataclass
class Run:
    """What is left of a DAG run that has ended."""

    state: str
    tasks: dict[str, str]
    xcoms: dict[tuple[str, str], Any]
    rendered: dict[str, dict[str, Any]]
    log: str

    def result(self, task: str) -> Any:
        return self.xcoms[task, "return_value"]


@pytest.fixture(scope="session")
def dags() -> Mapping[str, Any]:
    """Every DAG of the examples and the cases, parsed by Airflow itself."""
    from airflow.utils.db import initdb

    initdb()
    if AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_3_PLUS:
        keep_the_api_of_dag_test()
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag
    found: dict[str, Any] = {}
    for folder in sorted((Path(os.environ["AIRFLOW_HOME"]) / "dags").iterdir()):
        bag = DagBag(str(folder))
        assert not bag.import_errors
        found.update(bag.dags)
    return found


def keep_the_api_of_dag_test() -> None:
    """Let ``dag.test()`` keep the API that it makes in this process, as it does from Airflow 3.3 on.

    Before, nothing refers to it while the task runs. If it is collected in time, its registry of services is closed,
    and every request ends in ``'State' object has no attribute 'svcs_registry'``.
    """
    from airflow.sdk.execution_time import supervisor

    supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


@pytest.fixture
def run_dag(
    dags: Mapping[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Run]:
    """Return a function that runs a DAG with ``dag.test()`` and reads what it left."""

    # Airflow 2's initdb leaves the root logger, which triggers log to, at WARNING.
    caplog.set_level(logging.INFO)
    # Airflow 3.0 breaks the lines of errors to the width of the terminal.
    monkeypatch.setenv("COLUMNS", "1000")

    def run(dag_id: str, **conf: Any) -> Run:
        dag_run = dags[dag_id].test(run_conf=conf or None)
        tasks, xcoms, rendered = {}, {}, {}
        for ti in dag_run.get_task_instances():
            name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
            tasks[name] = str(getattr(ti.state, "value", ti.state))
            for key in ("return_value", "job_id", "tracking_url"):
                value = _xcom(ti, key)
                if value is not None:
                    xcoms[name, key] = value
            rendered[name] = _rendered(ti)
        out, err = capfd.readouterr()
        state = str(getattr(dag_run.state, "value", dag_run.state))
        return Run(state=state, tasks=tasks, xcoms=xcoms, rendered=rendered, log=out + err + caplog.text)

    return run


def _xcom(ti: Any, key: str) -> Any:
    from airflow.utils.session import create_session
    from sqlalchemy import select

    try:
        from airflow.models.xcom import XComModel
    except ImportError:  # before Airflow 3
        from airflow.models.xcom import XCom

        return XCom.get_value(ti_key=ti.key, key=key)
    wanted = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index, "key": key}
    with create_session() as session:
        row = session.scalars(select(XComModel).filter_by(**wanted)).first()
        return None if row is None else XComModel.deserialize_value(row)


def _rendered(ti: Any) -> dict[str, Any]:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields

    return RenderedTaskInstanceFields.get_templated_fields(ti) or {}
