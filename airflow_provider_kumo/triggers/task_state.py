"""Whether a task still waits for its trigger: what tells a killed task from a restarting triggerer.

Before Airflow 3.3 both reach a trigger as the same cancellation. In 3.3.0 to 3.3.2 a triggerer that comes back after
its heartbeat lapsed takes triggers that another one has picked up for killed ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from collections.abc import Collection

# A task that failed by itself and is tried again goes on with its job; a person's act leads to neither state.
_WAITS = frozenset({"deferred", "up_for_retry"})


async def is_still_deferred(task_instance: Any) -> bool:
    """Read the state of a trigger's task instance afresh.

    :param task_instance: the trigger's ``task_instance``; None where there is none, as in ``dag.test()``.
    :returns: True if the task waits, for its job or for its next try, and also if that cannot be told: a job is not
        cancelled on a guess. A cleared task, which has no state until it is scheduled again, does not wait, and
        neither does one that was deleted.
    """
    if task_instance is None:
        return True
    read = _states_from_supervisor if AIRFLOW_V_3_0_PLUS else _states_from_database
    states = await sync_to_async(read)(task_instance)
    return any(str(getattr(state, "value", state)) in _WAITS for state in states)


def _states_from_supervisor(ti: Any) -> Collection[Any]:
    """Ask for this one task instance: what comes is its state, or nothing if it has gone."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    # The server calls a mapped task instance "<task id>_<map index>", but no other than this one is in the answer.
    found: Collection[Any] = states.get(ti.run_id, {}).values()
    return found


def _states_from_database(ti: Any) -> Collection[Any]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(TaskInstance.state).filter(
            TaskInstance.dag_id == ti.dag_id,
            TaskInstance.task_id == ti.task_id,
            TaskInstance.run_id == ti.run_id,
            TaskInstance.map_index == ti.map_index,
        )
        return [row.state for row in rows]
