"""Tell people how each Kumo job has ended: cause, metrics and link."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.notifications.kumo import KumoJobNotifier
from airflow_provider_kumo.task_groups.kumo import retrain_and_predict


def tell(message: str) -> None:
    """Stand for whatever reaches people: a post to a chat, a page, a mail."""
    print(message)


with DAG(
    dag_id="kumo_notifications",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={
        "on_failure_callback": KumoJobNotifier(send=tell),
        "on_skipped_callback": KumoJobNotifier(send=tell),
        "on_success_callback": KumoJobNotifier(
            message="{{ kumo_job.task_id }} is done, see {{ kumo_job.tracking_url }}"
        ),
    },
    tags=["kumo"],
    doc_md=__doc__,
):
    retrain_and_predict(pquery_id="churn_30d", minimum_metrics={"auroc": 0.75})
