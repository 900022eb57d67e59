"""Follow a DAG run and the Kumo jobs behind its tasks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import KumoError
from airflow_provider_kumo.client.jobs import Job, JobKind, JobStatus, Progress
from airflow_provider_kumo.client.policy import ONE_TRY

if TYPE_CHECKING:
    from airflow_provider_kumo.client.sync import KumoClient
    from dev.airflow_api import AirflowApi

log = logging.getLogger(__name__)


@dataclass
class Task:
    """A task of the run and, once it has one, its job in Kumo."""

    task_id: str
    state: str | None = None
    job: Job | None = None
    progress: Progress | None = None

    @property
    def runs_in_kumo(self) -> bool:
        """Whether a job is under way that somebody pays for."""
        return self.job is not None and not self.job.is_terminal


class FollowedRun:
    """One DAG run, seen through Airflow's API and Kumo's.

    :param airflow: tells the tasks and, by their XComs, the jobs.
    :param kumo: tells how far the jobs are.
    """

    def __init__(self, airflow: AirflowApi, kumo: KumoClient, dag_id: str, run_id: str) -> None:
        self.tasks: dict[str, Task] = {}
        self.dag_id = dag_id
        self.run_id = run_id
        self._airflow = airflow
        self._kumo = kumo

    def look(self) -> str:
        """Look once at everything and return the state of the run."""
        # First the run: what is read after it cannot be older than its end.
        state = self._airflow.run_state(self.dag_id, self.run_id)
        for record in self._airflow.task_instances(self.dag_id, self.run_id):
            task = self.tasks.setdefault(record["task_id"], Task(record["task_id"]))
            task.state = record["state"]
            self._look_at_job(task)
        return state

    def failed_tasks(self) -> list[Task]:
        """Return the tasks that failed by themselves."""
        return [task for task in self.tasks.values() if task.state == "failed"]

    def cancel_jobs(self) -> list[Job]:
        """Ask Kumo to cancel the jobs that still run, and return those that it was asked about."""
        running = [task.job for task in self.tasks.values() if task.job and task.runs_in_kumo]
        for job in running:
            try:
                self._kumo.send(calls.cancel_job(job.kind, job.id), budgets=ONE_TRY)
            except KumoError as error:
                log.warning("%s", error)
        return running

    def _look_at_job(self, task: Task) -> None:
        job_id = task.job.id if task.job else self._airflow.xcom(self.dag_id, self.run_id, task.task_id, "job_id")
        if not job_id or (task.job and task.job.is_terminal):
            return
        kind = JobKind.of(job_id)
        try:
            job = self._kumo.send(calls.get_job(kind, job_id), budgets=ONE_TRY)
            task.job = job.with_origin(self._kumo.config.base_url)
            if job.status == JobStatus.RUNNING:
                task.progress = self._kumo.send(calls.get_progress(kind, job_id), budgets=ONE_TRY)
        except KumoError as error:
            # The demo only watches: the next look may succeed, and the tasks have patience of their own.
            log.debug("%s", error)
