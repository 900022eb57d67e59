"""Retrain the predictive queries whose newest model is old, predict with each new model, and report.

Which queries are old is found out by a task, so how many jobs there are is known only when the DAG runs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, get_current_context, task

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator
from airflow_provider_kumo.outputs import snowflake

QUERIES = ["churn_30d", "ltv_90d", "next_purchase"]


def prediction_with(training: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the prediction that follows a training: its model, and a table of its own."""
    table = f"PREDICTIONS_{training['pquery_id'].upper()}"
    return {
        "training_job_id": training["job_id"],
        "outputs": [snowflake(connector_id="my_snowflake", table_name=table)],
    }


with DAG(
    dag_id="kumo_stale_queries",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"days": Param(2, type="integer", minimum=0, title="Retrain when the newest model is older, in days")},
    tags=["kumo"],
    doc_md=__doc__,
):

    @task
    def stale(queries: list[str]) -> list[str]:
        """Return the queries without a model that is young enough."""
        from airflow_provider_kumo.client.newest import newest_training_job
        from airflow_provider_kumo.hooks.kumo import KumoHook

        since = datetime.now(UTC) - timedelta(days=get_current_context()["params"]["days"])
        newest = {query: newest_training_job(KumoHook().send, query) for query in queries}
        return [
            query for query, job in newest.items() if job is None or job.created_at is None or job.created_at < since
        ]

    @task
    def report(trainings: Any, predictions: Any) -> list[str]:
        """Return a line for each query."""
        return [
            f"{training['pquery_id']}: {training['metrics']['test']}, {prediction['num_entities_predicted']:,} entities"
            for training, prediction in zip(trainings, predictions, strict=True)
        ]

    # In place of a mapped task's number the UI shows the query.
    retrain = KumoRetrainOperator.partial(
        task_id="retrain", max_active_tis_per_dag=10, map_index_template="{{ task.pquery_id }}"
    ).expand(pquery_id=stale(QUERIES))

    predict = KumoBatchPredictOperator.partial(task_id="predict", max_active_tis_per_dag=10).expand_kwargs(
        retrain.output.map(prediction_with)
    )

    report(retrain.output, predict.output)
