"""Callbacks of every kind, each of which writes its message where the tests find it."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseNotifier

from airflow_provider_kumo.notifications.kumo import KumoJobNotifier
from airflow_provider_kumo.notifications.summary import kumo_job_summary
from airflow_provider_kumo.operators.kumo import KumoRetrainOperator
from airflow_provider_kumo.task_groups.kumo import retrain_and_predict

START = datetime(2026, 1, 1)


def tell(text: str) -> None:
    """Append a message to a file in Airflow's home, because callbacks run in processes of their own."""
    with (Path(os.environ["AIRFLOW_HOME"]) / "messages").open("a") as file:
        file.write(f"{text}\n\n")


class ChatNotifier(BaseNotifier):
    """A notifier of somebody else: its text is a template."""

    template_fields = ("text",)

    def __init__(self, *, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        """Tell it."""
        tell(self.text)


# One for all tasks, as in a user's default_args.
notifier = KumoJobNotifier(send=tell)
everywhere = {f"on_{end}_callback": notifier for end in ("failure", "success", "retry", "skipped")}

with DAG(dag_id="case_told", start_date=START, schedule=None, default_args=everywhere, params={"least": 0.5}):
    retrain_and_predict(pquery_id="churn_30d", minimum_metrics={"auroc": "{{ params.least }}"})

with DAG(dag_id="case_told_again", start_date=START, schedule=None, default_args=everywhere):
    KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", retries=1, retry_delay=timedelta(seconds=1))

with DAG(dag_id="case_told_mapped", start_date=START, schedule=None, default_args=everywhere):
    KumoRetrainOperator.partial(task_id="retrain").expand(pquery_id=["churn_30d", "ltv_90d"])

with DAG(
    dag_id="case_told_in_a_template",
    start_date=START,
    schedule=None,
    user_defined_macros={"kumo_job_summary": kumo_job_summary},
):
    KumoRetrainOperator(
        task_id="retrain",
        pquery_id="churn_30d",
        on_failure_callback=ChatNotifier(text="{{ kumo_job_summary().cause }} ({{ dag.dag_id }})"),
        on_success_callback=ChatNotifier(text="{{ kumo_job_summary().metrics.auroc }}\n{{ kumo_job_summary() }}"),
    )

with DAG(
    dag_id="case_told_by_the_dag",
    start_date=START,
    schedule=None,
    on_failure_callback=KumoJobNotifier(send=tell),
    on_success_callback=KumoJobNotifier(send=tell, message="{{ dag.dag_id }} is well\n{{ kumo_job }}"),
):
    KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d")

with DAG(dag_id="case_told_to_the_log", start_date=START, schedule=None):
    KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", on_success_callback=KumoJobNotifier())
