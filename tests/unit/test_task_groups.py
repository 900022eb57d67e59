"""What retrain_and_predict makes of its arguments while the DAG is parsed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException

from airflow_provider_kumo.client.errors import KumoArgumentError
from airflow_provider_kumo.outputs import local
from airflow_provider_kumo.task_groups.kumo import retrain_and_predict

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def dag() -> Iterator[DAG]:
    with DAG(dag_id="weekly", start_date=datetime(2026, 1, 1), schedule=None) as dag:
        yield dag


def test_without_bounds_predict_follows_retrain(dag):
    retrain_and_predict(pquery_id="churn_30d")
    assert dag.task_dict.keys() == {"retrain_and_predict.retrain", "retrain_and_predict.predict"}
    assert dag.get_task("retrain_and_predict.predict").upstream_task_ids == {"retrain_and_predict.retrain"}


@pytest.mark.parametrize("bounds", [{"minimum_metrics": {"auroc": 0.7}}, {"maximum_metrics": {"mae": 20}}])
def test_with_bounds_predict_follows_the_gate_too(dag, bounds):
    retrain_and_predict(pquery_id="churn_30d", **bounds)
    gate = dag.get_task("retrain_and_predict.metric_gate")
    assert gate.upstream_task_ids == {"retrain_and_predict.retrain"}
    assert gate.downstream_task_ids == {"retrain_and_predict.predict"}


def test_every_argument_reaches_its_operator(dag):
    group = retrain_and_predict.override(group_id="churn", default_args={"kumo_conn_id": "kumo_eu", "retries": 2})(
        pquery_id="churn_30d",
        outputs=[local()],
        prediction_time="{{ data_interval_end }}",
        minimum_metrics={"auroc": 0.7},
        retrain_args={"refresh_snapshot": True, "timeout": 3600, "retries": 1},
        predict_args={"num_workers": 4},
    )
    retrain, gate, predict = (group.get_child_by_label(name) for name in ("retrain", "metric_gate", "predict"))
    assert (retrain.pquery_id, retrain.refresh_snapshot, retrain.timeout) == ("churn_30d", True, 3600)
    assert (predict.outputs, predict.num_workers) == ([local()], 4)
    assert predict.prediction_time == "{{ data_interval_end }}"
    assert gate.minimum_metrics == {"auroc": 0.7}
    assert {retrain.kumo_conn_id, predict.kumo_conn_id} == {"kumo_eu"}
    assert [retrain.retries, gate.retries, predict.retries] == [1, 2, 2]


def test_two_in_one_dag_have_ids_of_their_own(dag):
    first, second = (retrain_and_predict(pquery_id=query) for query in ("churn_30d", "ltv_90d"))
    assert [first.group_id, second.group_id] == ["retrain_and_predict", "retrain_and_predict__1"]
    assert second.get_child_by_label("predict").upstream_task_ids == {"retrain_and_predict__1.retrain"}


def test_dependencies_are_those_of_a_group(dag):
    from airflow.providers.common.compat.sdk import BaseOperator

    before, after = BaseOperator(task_id="before"), BaseOperator(task_id="after")
    before >> retrain_and_predict(pquery_id="churn_30d") >> after
    assert before.downstream_task_ids == {"retrain_and_predict.retrain"}
    assert after.upstream_task_ids == {"retrain_and_predict.predict"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pquery": "churn_30d"}, "pquery"),
        ({"pquery_id": "churn_30d", "minimum_metric": {"auroc": 0.7}}, "minimum_metric"),
        ({"pquery_id": "churn_30d", "retrain_args": {"modelplan": {}}}, "modelplan"),
        ({"pquery_id": "churn_30d", "predict_args": {"output": []}}, "output"),
        ({"pquery_id": "churn_30d", "retrain_args": {"pquery_id": "ltv_90d"}}, "pquery_id"),
        ({"pquery_id": "churn_30d", "predict_args": {"training_job_id": "trainingjob-1"}}, "training_job_id"),
    ],
)
def test_a_name_that_no_operator_knows_is_told_while_the_dag_is_parsed(dag, arguments, said):
    with pytest.raises((TypeError, AirflowException), match=said):
        retrain_and_predict(**arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pquery_id": ""}, "pquery_id: got ''"),
        ({"pquery_id": "churn_30d", "outputs": [{"storage_type": "PAPER"}]}, r"outputs\[0\]"),
        ({"pquery_id": "churn_30d", "minimum_metrics": {"auroc": "high"}}, "minimum_metrics"),
        ({"pquery_id": "churn_30d", "retrain_args": {"wait_for_completion": False}}, "no model to predict with"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_while_the_dag_is_parsed(dag, arguments, said):
    with pytest.raises(KumoArgumentError, match=said):
        retrain_and_predict(**arguments)


@pytest.mark.parametrize("arguments", [{"pquery": ["churn_30d"]}, {"pquery_id": ["churn_30d"], "retry": [1]}])
def test_a_wrong_name_is_told_when_the_group_is_mapped(dag, arguments):
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        retrain_and_predict.expand(**arguments)
