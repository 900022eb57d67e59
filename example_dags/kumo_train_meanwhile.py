"""Train while other work goes on, then predict; whatever goes wrong meanwhile, no training is left behind.

The training is a setup and its cancelling the teardown: Airflow runs it when everything between them has ended. A job
that has ended by then is left alone.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoCancelJobOperator, KumoRetrainOperator
from airflow_provider_kumo.sensors.kumo import KumoJobSensor

with DAG(
    dag_id="kumo_train_meanwhile",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kumo"],
    doc_md=__doc__,
):

    @task
    def refresh_entities() -> None:
        """Stand for work that takes as long as a training and can fail."""

    start = KumoRetrainOperator(task_id="start", pquery_id="churn_30d", wait_for_completion=False)
    cancel = KumoCancelJobOperator(task_id="cancel", job_id=start.output["job_id"])

    with cancel.as_teardown(setups=start):
        trained = KumoJobSensor(task_id="trained", job_id=start.output["job_id"])
        predict = KumoBatchPredictOperator(task_id="predict", training_job_id=start.output["job_id"])
        [trained, refresh_entities()] >> predict
