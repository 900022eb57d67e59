"""Retrain several predictive queries, and predict with each new model that is good enough.

Each query has a table and bounds of its own, so the ready task group stands in a mapped one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task, task_group

from airflow_provider_kumo.outputs import snowflake
from airflow_provider_kumo.task_groups.kumo import retrain_and_predict

QUERIES = [
    {
        "pquery_id": "churn_30d",
        "outputs": [snowflake(connector_id="my_snowflake", table_name="CHURN")],
        "minimum_metrics": {"auroc": 0.75},
        "maximum_metrics": None,
    },
    {
        "pquery_id": "ltv_90d",
        "outputs": [snowflake(connector_id="my_snowflake", table_name="LIFETIME_VALUE")],
        "minimum_metrics": None,
        "maximum_metrics": {"mae": 40},
    },
]

with DAG(
    dag_id="kumo_gated_queries",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kumo"],
    doc_md=__doc__,
):

    @task
    def tell(prediction: dict[str, Any]) -> str:
        """Say what has come out for one query; skipped with its prediction if the model was too weak."""
        return f"{prediction['num_entities_predicted']:,} entities of {prediction['pquery_id']} predicted"

    @task_group
    def each_query(pquery_id: Any, outputs: Any, minimum_metrics: Any, maximum_metrics: Any) -> None:
        """Retrain, judge, predict and tell, for one query."""
        group = retrain_and_predict(
            pquery_id=pquery_id,
            outputs=outputs,
            minimum_metrics=minimum_metrics,
            maximum_metrics=maximum_metrics,
            # In place of a mapped task's number the UI shows what it trains.
            retrain_args={"map_index_template": "{{ task.pquery_id }}"},
        )
        tell(group.get_child_by_label("predict").output)

    each_query.expand_kwargs(QUERIES)
