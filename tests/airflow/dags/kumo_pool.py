"""Four trainings for a pool of two."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.operators.kumo import KumoRetrainOperator

for name, pool in (("held", "kumo_held"), ("given_away", "kumo_given_away")):
    with DAG(dag_id=f"case_pool_{name}", start_date=datetime(2026, 1, 1), schedule=None) as dag:
        KumoRetrainOperator.partial(task_id="retrain", pool=pool).expand(pquery_id=["churn_30d", "ltv_90d"] * 2)
    globals()[dag.dag_id] = dag
