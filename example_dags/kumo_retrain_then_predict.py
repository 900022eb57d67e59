"""Every week: retrain a predictive query on fresh data, then predict with the new model."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator

with DAG(
    dag_id="kumo_retrain_then_predict",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"pquery_id": Param("churn_30d", type="string", minLength=1, title="Predictive query")},
    tags=["kumo"],
    doc_md=__doc__,
):
    retrain = KumoRetrainOperator(task_id="retrain", pquery_id="{{ params.pquery_id }}")

    KumoBatchPredictOperator(task_id="predict", training_job_id=retrain.output["job_id"])
