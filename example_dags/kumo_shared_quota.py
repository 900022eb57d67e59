"""Share Kumo's quota among all DAGs: never more jobs at a time than a pool has slots.

Make a pool for each connection, once, which tasks hold while they wait: `airflow pools set kumo_default 10 "Kumo jobs"
--include-deferred`. Without the pool Airflow does not start the tasks.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.task_groups.kumo import retrain_and_predict

KUMO = {"kumo_conn_id": "kumo_default", "pool": "kumo_default"}

with DAG(
    dag_id="kumo_shared_quota",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args=KUMO,
    tags=["kumo"],
    doc_md=__doc__,
):
    retrain_and_predict.expand(pquery_id=["churn_30d", "ltv_90d", "next_purchase"])
