from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_kumo.client.errors import KumoArgumentError
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.operators.gate import KumoMetricGateOperator

LINK = "https://acme.kumoai.cloud/jobs/trainingjob-1"
TRAINING = Job(
    id="trainingjob-1",
    kind=JobKind.TRAINING,
    status="DONE",
    tracking_url=LINK,
    metrics={"test": {"auroc": 0.8, "auprc": None, "acc": 0.9}},
).result()


class TaskInstanceStub:
    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def run(ti: TaskInstanceStub | None = None, **arguments: Any) -> Any:
    gate = KumoMetricGateOperator(**{"task_id": "gate", "training": TRAINING, **arguments})
    return gate.execute({"ti": ti or TaskInstanceStub()})


def test_a_good_model_passes_and_what_was_judged_is_returned():
    assert run(minimum_metrics={"auroc": 0.75}, maximum_metrics={"acc": 1}) == {"auroc": 0.8, "acc": 0.9}


def test_a_rendered_template_is_a_number_in_a_text():
    assert run(minimum_metrics={"auroc": "0.75"}) == {"auroc": 0.8}


def test_a_weak_model_is_skipped_with_a_sentence_and_a_link():
    ti = TaskInstanceStub()
    with pytest.raises(AirflowSkipException) as skipped:
        run(ti, minimum_metrics={"auroc": 0.85, "auprc": 0.1, "acc": 0.5})
    assert str(skipped.value) == (
        "The model of trainingjob-1 is not good enough: on the test data auroc is 0.8, below the minimum of 0.85, "
        f"and auprc is null, so it cannot be held against 0.1. See {LINK}"
    )
    assert ti.xcoms["reason"] == str(skipped.value)


@pytest.mark.parametrize("least", [0.5, 0.99])
def test_the_button_of_the_gate_opens_the_training(least):
    ti = TaskInstanceStub()
    try:
        run(ti, minimum_metrics={"auroc": least})
    except AirflowSkipException:
        assert least == 0.99
    assert ti.xcoms["tracking_url"] == LINK


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"minimum_metrics": {"aucroc": 0.5}}, "no test metric 'aucroc'; it has auroc, auprc, acc"),
        ({"minimum_metrics": {"auroc": 0.5}, "training": None}, "must be the result of a retrain"),
    ],
)
def test_what_cannot_be_judged_fails_for_good(arguments, said):
    with pytest.raises(AirflowFailException, match=said):
        run(**arguments)


@pytest.mark.parametrize("argument", ["minimum_metrics", "maximum_metrics"])
@pytest.mark.parametrize(
    "bounds", [{}, [("auroc", 0.5)], {"auroc": "high"}, {"auroc": None}, {"auroc": True}, {1: 0.5}]
)
def test_bounds_that_cannot_be_used_are_told_while_the_dag_is_parsed(argument, bounds):
    with pytest.raises(KumoArgumentError, match=argument):
        KumoMetricGateOperator(task_id="gate", training=TRAINING, **{argument: bounds})


def test_a_gate_without_bounds_is_refused():
    with pytest.raises(KumoArgumentError, match="minimum_metrics, maximum_metrics or both"):
        KumoMetricGateOperator(task_id="gate", training=TRAINING)
