"""The DAGs into which faults are injected: one task each, which tells the harness where it is."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.operators.kumo import KumoRetrainOperator
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
        if self._conf.get("race") and context["ti"].try_number == 1 and os.fork() == 0:
            self._race(client, context)
        return super()._find_or_submit(client, context)

    def _race(self, client: KumoClient, context: Any) -> None:
        """Be the second process of this task instance: all of a submission, but nothing that Airflow hears of."""
        logging.disable()
        ti = context["ti"]
        names = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        silent = SimpleNamespace(**names, xcom_push=lambda **_: None)
        self._try_number += 1000
        try:
            super()._find_or_submit(client.twin(), {"ti": silent})  # type: ignore[typeddict-item]
        finally:
            os._exit(0)

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
    "kumo_faults_execution_timeout": {"execution_timeout": timedelta(seconds=12)},
}
for name, options in KINDS.items():
    with DAG(dag_id=name, start_date=datetime(2026, 1, 1), schedule=None, max_active_runs=100, max_active_tasks=100):
        WatchedRetrain(task_id="retrain", pquery_id="churn_30d", model_plan={}, deferrable=True, **options)
