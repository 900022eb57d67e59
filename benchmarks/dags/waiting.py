"""Twenty DAGs of a hundred tasks that start in the triggerer and end there, so that no worker is measured."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import StartTriggerArgs

DAGS, TASKS, POLL_INTERVAL = 20, 100, 10.0


class WaitFromTheStart(BaseOperator):
    """Waits for a job without ever being on a worker."""

    start_from_trigger = True

    def __init__(self, *, job_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="benchmarks.ending.EndingTrigger",
            trigger_kwargs={
                "kumo_conn_id": "kumo_default",
                "job_id": job_id,
                "job_kind": "training",
                "poll_interval": POLL_INTERVAL,
            },
            next_method="execute_complete",
        )

    def execute_complete(self, context: object, event: object) -> None:
        """Fail: the trigger ends the task by itself."""
        raise RuntimeError(f"a worker got {event}")


for number in range(DAGS):
    with DAG(f"kumo_bench_{number:02}", schedule=None, max_active_tasks=TASKS) as dag:
        for index in range(number * TASKS, (number + 1) * TASKS):
            WaitFromTheStart(task_id=f"wait_{index:04}", job_id=f"trainingjob-{index:04}")
    globals()[dag.dag_id] = dag
