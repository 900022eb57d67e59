"""Wait for a job that somebody has started in Kumo's UI, and tell how good the model is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, get_current_context, task

from airflow_provider_kumo.sensors.kumo import KumoJobSensor

with DAG(
    dag_id="kumo_wait_for_job",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={
        "job_id": Param(None, type=["string", "null"], title="Job id", description="Empty: the query's newest job."),
        "pquery_id": Param("churn_30d", type="string", minLength=1, title="Predictive query"),
    },
    tags=["kumo"],
    doc_md=__doc__,
):

    @task
    def which_job() -> str:
        """Return the job that was named, or else the newest training job of the query."""
        from airflow_provider_kumo.client import calls
        from airflow_provider_kumo.client.jobs import JobKind
        from airflow_provider_kumo.hooks.kumo import KumoHook

        params = get_current_context()["params"]
        if params["job_id"]:
            return params["job_id"]
        jobs = KumoHook().send(calls.list_jobs(JobKind.TRAINING, pquery_name=params["pquery_id"]))
        return max(jobs, key=lambda job: job.created_at).id

    @task
    def tell(job: dict[str, Any]) -> dict[str, float]:
        """Show what a task after the job can work with."""
        print(f"{job['job_id']} is {job['status']}, see {job['tracking_url']}")
        return job["metrics"]["test"]

    wait = KumoJobSensor(task_id="wait", job_id=which_job())
    tell(wait.output)
