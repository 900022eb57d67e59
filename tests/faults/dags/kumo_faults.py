"""The DAGs into which faults are injected: one task each, which tells the harness where it is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.operators.kumo import KumoRetrainOperator
from airflow_provider_kumo.submission import TaskKey
from tests.faults import gates
from tests.faults.gates import Gates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_kumo.client import calls
    from airflow_provider_kumo.client.jobs import Job
    from airflow_provider_kumo.client.sync import KumoClient


class WatchedRetrain(KumoRetrainOperator):
    """The operator as it is, with a gate before and after each of its steps, and options from the run's ``conf``."""

    def execute(self, context: Any) -> Any:
        self._take(context)
        self._pass(gates.START)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        self._take(context)
        self._pass(gates.RESUME)
        result = super().execute_complete(context, event)
        self._pass(gates.DELIVERED)
        return result

    def _find_or_submit(self, client: KumoClient, context: Any) -> Job:
        if self._conf.get("race") and context["ti"].try_number == 1:
            self._race(TaskKey.of(context, durable=True))
        return super()._find_or_submit(client, context)

    def _race(self, key: TaskKey) -> None:
        """Start a second process of this task instance."""
        connection = self._hook().get_connection(self.kumo_conn_id)
        race = {
            "connection": {"host": connection.host, "password": connection.password, "extra": connection.extra_dejson},
            "key": asdict(key),
            "arguments": self._arguments(),
            "body": training_request(**self._request()),
            "gates": str(self._gates.folder),
        }
        racer = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.racer"], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        if racer.stdin is not None:
            with racer.stdin as pipe:
                json.dump(race, pipe)

    def _create(self, client: KumoClient, tags: Mapping[str, str]) -> calls.Call[str]:
        call = super()._create(client, tags)
        self._pass(gates.BEFORE_POST)
        return call

    def _defer(self, job: Job, context: Any) -> None:
        self._pass(gates.BEFORE_DEFER)
        super()._defer(job, context)

    def _wait(self, client: KumoClient, job: Job, context: Any) -> Job:
        self._pass(gates.WAITING_HERE)
        return super()._wait(client, job, context)

    def _take(self, context: Any) -> None:
        self._gates = Gates.of(context)
        self._try_number = context["ti"].try_number
        self._conf = dict(context["dag_run"].conf or {})
        self.timeout = self._conf.get("timeout", self.timeout)
        self.deferrable = self._conf.get("deferrable", self.deferrable)
        self.if_cancelled = self._conf.get("if_cancelled", self.if_cancelled)

    def _pass(self, gate: str) -> None:
        self._gates.leave(gate, self._try_number)


KINDS: dict[str, dict[str, Any]] = {
    "kumo_faults": {"retries": 2, "retry_delay": timedelta(seconds=1)},
    "kumo_faults_one_try": {},
    "kumo_faults_execution_timeout": {"execution_timeout": timedelta(seconds=30)},
    "kumo_faults_dagrun_timeout": {},
}
for name, options in KINDS.items():
    with DAG(
        dag_id=name,
        start_date=datetime(2026, 1, 1),
        schedule=None,
        max_active_runs=100,
        max_active_tasks=100,
        dagrun_timeout=timedelta(seconds=40) if name.endswith("dagrun_timeout") else None,
    ):
        WatchedRetrain(task_id="retrain", pquery_id="churn_30d", model_plan={}, deferrable=True, **options)
