"""The message that a summary makes, and what it does with a context that knows little."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_kumo.client.errors import KumoJobFailedError
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.notifications.kumo import KumoJobNotifier
from airflow_provider_kumo.notifications.summary import kumo_job_summary

LINK = "https://acme.kumoai.cloud/jobs/trainingjob-1"
DONE = Job(
    id="trainingjob-1",
    kind=JobKind.TRAINING,
    status="DONE",
    tracking_url=LINK,
    metrics={"test": {"auroc": 0.81234, "auprc": None}, "training": {"auroc": 0.99}},
).result()


def context(xcoms: dict[str, Any] | Exception, *, state: Any = "success", **more: Any) -> dict[str, Any]:
    def xcom_pull(*, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == ("retrain", -1)
        if isinstance(xcoms, Exception):
            raise xcoms
        return xcoms.get(key)

    ti = SimpleNamespace(
        dag_id="churn_weekly",
        run_id="manual__1",
        task_id="retrain",
        map_index=-1,
        try_number=2,
        state=state,
        log_url="https://airflow.example.com/x",
        xcom_pull=xcom_pull,
    )
    return {"ti": ti, "run_id": "manual__1", **more}


def message(*args: Any, **kwargs: Any) -> list[str]:
    return str(kumo_job_summary(context(*args, **kwargs))).splitlines()


def test_a_success_tells_test_metrics_and_link():
    assert message({"job_id": "trainingjob-1", "tracking_url": LINK, "return_value": DONE}) == [
        "Task retrain of DAG churn_weekly, run manual__1: succeeded in try 2.",
        "Test metrics: auroc 0.8123, auprc null",
        f"Kumo job: {LINK}",
        "Airflow: https://airflow.example.com/x",
    ]


def test_a_failure_tells_its_cause_and_does_not_repeat_its_link():
    error = KumoJobFailedError(f"Training job trainingjob-1 ended as FAILED. See {LINK}", job_id="trainingjob-1")
    lines = message({"job_id": "trainingjob-1", "tracking_url": LINK}, state="failed", exception=error)
    assert lines[1:] == [f"KumoJobFailedError: {error}", "Airflow: https://airflow.example.com/x"]


@pytest.mark.parametrize(
    ("exception", "cause"),
    [
        (AirflowFailException("KumoForbiddenError: no"), "KumoForbiddenError: no"),
        (ValueError("no"), "ValueError: no"),
        ("killed", "killed"),
        (None, None),
    ],
)
def test_the_cause_names_the_class_once(exception, cause):
    assert kumo_job_summary(context({}, state="failed", exception=exception)).cause == cause


def test_a_cause_of_any_length_fits_a_message():
    assert len(kumo_job_summary(context({}, exception=ValueError("x" * 100_000))).cause) < 2100


def test_a_skip_tells_the_reason_that_the_gate_left_and_nothing_else_does():
    assert message({"reason": "too weak"}, state="skipped")[:2] == [
        "Task retrain of DAG churn_weekly, run manual__1: skipped in try 2.",
        "too weak",
    ]
    assert kumo_job_summary(context({"reason": "of somebody else"}, state="success")).cause is None


def test_what_airflow_does_not_let_read_is_said_and_costs_no_message():
    error = RuntimeError("no XComs here")
    lines = message(error, state="failed", exception=ValueError("no"))
    assert lines == [
        "Task retrain of DAG churn_weekly, run manual__1: failed in try 2.",
        "ValueError: no",
        "Job and metrics could not be read: RuntimeError: no XComs here",
        "Airflow: https://airflow.example.com/x",
    ]


@pytest.mark.skipif(not airflow.__version__.startswith("3.0."), reason="other Airflows answer everywhere, or refuse")
def test_where_airflow_would_never_answer_nothing_is_asked():
    assert message(AssertionError("asked"), state=None, reason="task_failure") == [
        "DAG churn_weekly, run manual__1: task_failure. One of its tasks: retrain.",
        "Job and metrics could not be read: Airflow 3.0 does not answer here",
        "Airflow: https://airflow.example.com/x",
    ]


def test_a_dags_own_callback_speaks_of_the_dag():
    assert message({}, state="success", reason="task_failure")[0] == (
        "DAG churn_weekly, run manual__1: task_failure. One of its tasks: retrain."
    )
    without_task = {"dag": SimpleNamespace(dag_id="churn_weekly"), "run_id": "manual__1", "reason": "timed_out"}
    assert str(kumo_job_summary(without_task)) == "DAG churn_weekly, run manual__1: timed_out."


@pytest.mark.parametrize("value", ["not ours", {"rows": 3}, None, 7])
def test_results_of_other_operators_are_left_alone(value):
    assert message({"return_value": value})[1:] == ["Airflow: https://airflow.example.com/x"]


def test_a_state_that_airflow_does_not_tell_is_no_success():
    headline, cause, _ = message({}, state=None, exception=None)
    assert headline.endswith(": failed in try 2.")
    assert cause == "Airflow gives no cause here; it is in the task's log."


def test_a_failing_function_of_the_users_is_not_hidden():
    def send(text: str) -> None:
        raise OSError("the chat is down")

    with pytest.raises(OSError, match="the chat is down"):
        KumoJobNotifier(send=send).notify(context({}, dag=DAG(dag_id="churn_weekly")))
