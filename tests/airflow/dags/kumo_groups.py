"""The ready task group, alone and mapped; setup and teardown."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoCancelJobOperator, KumoRetrainOperator
from airflow_provider_kumo.outputs import s3
from airflow_provider_kumo.task_groups.kumo import retrain_and_predict

START = datetime(2026, 1, 1)

with DAG(dag_id="case_group", start_date=START, schedule=None, params={"least": 0.5}):
    retrain_and_predict.override(group_id="churn")(
        pquery_id="churn_30d",
        outputs=[s3(file_path="s3://bucket/{{ ds }}/part-{{PARTITION}}.parquet")],
        minimum_metrics={"auroc": "{{ params.least }}"},
        retrain_args={"model_plan": {}},
        predict_args={"num_workers": 2},
    )

with DAG(dag_id="case_group_wrong_metric", start_date=START, schedule=None):
    retrain_and_predict(pquery_id="ltv_90d", minimum_metrics={"auroc": 0.5})

with DAG(dag_id="case_group_mapped", start_date=START, schedule=None):
    retrain_and_predict.partial(
        pquery_id="churn_30d",
        outputs=[s3(file_path="s3://bucket/{{ ds }}/{{ ti.map_index }}/{{PARTITION}}.parquet")],
    ).expand(minimum_metrics=[{"auroc": 0.5}, {"auroc": 0.99}])

with DAG(dag_id="case_group_mapped_template", start_date=START, schedule=None):
    retrain_and_predict.partial(pquery_id="churn_30d").expand(
        outputs=[[s3(file_path="s3://bucket/{{ ds }}/part-{{PARTITION}}.parquet")]]
    )

with DAG(dag_id="case_teardown", start_date=START, schedule=None):

    @task
    def fail() -> None:
        """Fail while the training runs."""
        raise RuntimeError("no entities today")

    start = KumoRetrainOperator(task_id="start", pquery_id="churn_30d", wait_for_completion=False)
    cancel = KumoCancelJobOperator(task_id="cancel", job_id=start.output["job_id"])
    with cancel.as_teardown(setups=start):
        fail() >> KumoBatchPredictOperator(task_id="predict", training_job_id=start.output["job_id"])
