"""Retrain many predictive queries side by side, and predict with each new model.

Kumo runs ten jobs at a time and queues fifteen more; ``max_active_tis_per_dag`` keeps below that.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator

with DAG(
    dag_id="kumo_many_queries",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kumo"],
    doc_md=__doc__,
):
    retrain = KumoRetrainOperator.partial(task_id="retrain", max_active_tis_per_dag=10).expand(
        pquery_id=["churn_30d", "ltv_90d", "next_purchase"]
    )

    KumoBatchPredictOperator.partial(task_id="predict", max_active_tis_per_dag=10).expand(
        training_job_id=retrain.output.map(lambda job: job["job_id"])
    )
