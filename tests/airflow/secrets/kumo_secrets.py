"""Tasks that come near every secret there is, in every way that a task can end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.hooks.kumo import KumoHook
from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator


class ReadFiles(BaseOperator):
    """Reads the presigned URLs of a prediction, and is careless with them."""

    def __init__(self, *, kumo_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kumo_conn_id = kumo_conn_id

    def execute(self, context: Any) -> None:
        job_id = context["ti"].xcom_pull(task_ids="predict")["job_id"]
        urls = KumoHook(self.kumo_conn_id).send(calls.get_prediction_urls(job_id))
        for url in urls:
            self.log.warning("Loading %s", url)
        raise ValueError(f"Cannot load {urls}")


# The connections are made by the test: one with an API key, one with a Snowflake token.
for kind in ("key", "token"):
    with DAG(dag_id=f"secrets_{kind}", start_date=datetime(2026, 1, 1), schedule=None) as dag:
        common: dict[str, Any] = {"kumo_conn_id": f"kumo_{kind}"}
        retrain = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", deferrable=True, **common)
        blocking = KumoRetrainOperator(task_id="blocking", pquery_id="churn_30d", deferrable=False, **common)
        predict = KumoBatchPredictOperator(task_id="predict", pquery_id="churn_30d", deferrable=True, **common)
        refused = KumoRetrainOperator(task_id="refused", pquery_id="no_such_query", model_plan={}, **common)
        files = ReadFiles(task_id="files", **common)
        predict >> files
    globals()[dag.dag_id] = dag
