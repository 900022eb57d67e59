"""What people are told about a task, under ``dag.test()``: failed, tried again, skipped, succeeded."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kumo.emulator.local import LocalKumo

pytestmark = [
    pytest.mark.kumo_emulator(speed=15_000),
    # Airflow 2 writes such a warning into the log of a callback that touches every name of its context.
    pytest.mark.filterwarnings("error:Accessing '.*' from the template is deprecated"),
    pytest.mark.skipif(
        airflow.__version__.startswith("3.0."),
        reason="dag.test() of Airflow 3.0 gives callbacks no exception and no URL",
    ),
]

needs_exceptions = pytest.mark.skipif(
    airflow.__version__.startswith(("3.1.", "3.2.")),
    reason="dag.test() of Airflow 3.1 and 3.2 gives callbacks no exception",
)


@pytest.fixture
def told(run_dag: Callable[..., Any]) -> Callable[..., dict[str, list[str]]]:
    """Return a function that runs a DAG and returns the lines of each message, by its headline up to the run."""

    def run(dag_id: str, **conf: Any) -> dict[str, list[str]]:
        file = Path(os.environ["AIRFLOW_HOME"]) / "messages"
        file.unlink(missing_ok=True)
        run_dag(dag_id, **conf)
        messages = [message.splitlines() for message in file.read_text().strip().split("\n\n")]
        return {re.sub(r", run [^ ]+:", ":", lines[0]): lines[1:] for lines in messages}

    return run


def test_each_task_of_a_good_run_tells_what_it_brought(kumo_emulator: LocalKumo, told: Callable[..., Any]) -> None:
    messages = told("case_told")
    group = "retrain_and_predict"
    assert list(messages) == [
        f"Task {group}.{task} of DAG case_told: succeeded in try 1." for task in ("retrain", "metric_gate", "predict")
    ]
    retrained, _, predicted = messages.values()
    new, prediction = kumo_emulator.jobs("training")[-1], kumo_emulator.jobs("prediction")[-1]
    assert retrained[0].startswith("Test metrics: auroc 0.8")
    assert retrained[1] == f"Kumo job: {kumo_emulator.origin}/jobs/{new.id}"
    assert f"/{group}.retrain" in retrained[2] or f"task_id={group}.retrain" in retrained[2]
    assert predicted[0].startswith("Entities predicted: 1,2")
    assert predicted[1] == f"Kumo job: {kumo_emulator.origin}/jobs/{prediction.id}"


@needs_exceptions
def test_a_failed_task_tells_kumos_cause_and_the_link_once(kumo_emulator: LocalKumo, told: Callable[..., Any]) -> None:
    kumo_emulator.fail_next("training", title="Schema changed", message="Column AGE is gone")
    messages = told("case_told")
    [(headline, lines)] = messages.items()
    assert headline == "Task retrain_and_predict.retrain of DAG case_told: failed in try 1."
    job = kumo_emulator.jobs("training")[-1].id
    assert lines[0] == (
        f"KumoJobFailedError: Training job {job} of predictive query churn_30d ended as FAILED in stage 'Training': "
        f"Schema changed. Column AGE is gone. See {kumo_emulator.origin}/jobs/{job}"
    )
    assert lines[1].startswith("Airflow: http")
    assert len(lines) == 2


@needs_exceptions
def test_a_task_that_is_tried_again_says_so(kumo_emulator: LocalKumo, told: Callable[..., Any]) -> None:
    kumo_emulator.fail_next("training", title="Out of memory", message="Ask for more")
    messages = told("case_told_again")
    first, second = messages
    assert first == "Task retrain of DAG case_told_again: failed in try 1; another try follows."
    assert "Out of memory. Ask for more." in messages[first][0]
    assert second == "Task retrain of DAG case_told_again: succeeded in try 2."


@needs_exceptions
def test_a_rejected_request_is_told_by_its_own_error(kumo_emulator: LocalKumo, told: Callable[..., Any]) -> None:
    kumo_emulator.reject_next(title="Model is not trained", message="It has status FAILED")
    *_, cause = told("case_told").values()
    assert cause[0].startswith("KumoRequestRefusedError: Kumo rejected the batch prediction: Model is not trained.")


def test_a_weak_model_is_told_by_the_gate(kumo_emulator: LocalKumo, told: Callable[..., Any]) -> None:
    messages = told("case_told", least=0.99)
    headline = "Task retrain_and_predict.metric_gate of DAG case_told: skipped in try 1."
    assert "below the minimum of 0.99. See http" in messages[headline][0]


def test_mapped_tasks_that_share_a_notifier_tell_of_themselves(
    kumo_emulator: LocalKumo, told: Callable[..., Any]
) -> None:
    messages = told("case_told_mapped")
    first, second = (
        messages[f"Task retrain[{index}] of DAG case_told_mapped: succeeded in try 1."] for index in (0, 1)
    )
    assert "auroc" in first[0]
    assert "mae" in second[0]


@needs_exceptions
def test_another_notifiers_template_takes_the_summary_and_its_parts(
    kumo_emulator: LocalKumo, told: Callable[..., Any]
) -> None:
    [(auroc, lines)] = told("case_told_in_a_template").items()
    assert 0.5 < float(auroc) < 1
    assert lines[0].startswith("Task retrain of DAG case_told_in_a_template")
    kumo_emulator.fail_next("training", title="Schema changed", message="Column AGE is gone")
    [cause] = told("case_told_in_a_template")
    assert "Column AGE is gone" in cause
    assert cause.endswith("(case_told_in_a_template)")


def test_without_a_function_the_message_is_in_the_log(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    run = run_dag("case_told_to_the_log")
    assert "Task retrain of DAG case_told_to_the_log, run " in run.log
    assert "Test metrics: auroc" in run.log
