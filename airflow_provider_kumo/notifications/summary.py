"""What to tell people about a task that has ended: cause, metrics, and where to look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jinja2
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

from airflow_provider_kumo.links.kumo import TRACKING_URL_KEY
from airflow_provider_kumo.operators.gate import REASON_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a mobile phone shows, and what Slack takes in one block, is about 3,000 characters.
_LONGEST_CAUSE = 2000


@dataclass(frozen=True, kw_only=True)
class KumoJobSummary:
    """What is known about a task, or about a DAG run, when a callback of Airflow is called. Its text is the message.

    :param state: ``success``, ``failed``, ``up_for_retry``, ``skipped``, or another state of the task; None if
        Airflow does not say.
    :param task_id: the task; of a DAG's own callback, the one task that Airflow names.
    :param map_index: of a mapped task, else None.
    :param try_number: 1 for the first try.
    :param cause: why the task did not succeed, as one text.
    :param dag_reason: why a DAG's own callback is called; None in a task's callback.
    :param job_id: the task's job in Kumo, if it has one.
    :param tracking_url: the job's page in Kumo.
    :param metrics: of the test split of a training.
    :param num_entities_predicted: of a batch prediction.
    :param log_url: the task's page in Airflow.
    :param unread: why job, link and metrics could not be asked of Airflow; None if they could.
    """

    dag_id: str
    run_id: str
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    state: str | None = None
    cause: str | None = None
    dag_reason: str | None = None
    job_id: str | None = None
    tracking_url: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    num_entities_predicted: int | None = None
    log_url: str | None = None
    unread: str | None = None

    def __str__(self) -> str:
        lines = [self._headline()]
        if self.cause:
            lines.append(self.cause)
        elif self.dag_reason is None and self.state not in ("success", "skipped"):
            lines.append("Airflow gives no cause here; it is in the task's log.")
        if self.metrics:
            lines.append(
                "Test metrics: " + ", ".join(f"{name} {_shown(value)}" for name, value in self.metrics.items())
            )
        if self.num_entities_predicted is not None:
            lines.append(f"Entities predicted: {self.num_entities_predicted:,}")
        # The cause of a failed job ends with the same link.
        if self.tracking_url and self.tracking_url not in (self.cause or ""):
            lines.append(f"Kumo job: {self.tracking_url}")
        elif self.job_id and not self.tracking_url:
            lines.append(f"Kumo job: {self.job_id}")
        if self.unread:
            lines.append(f"Job and metrics could not be read: {self.unread}")
        if self.log_url:
            lines.append(f"Airflow: {self.log_url}")
        return "\n".join(lines)

    def _headline(self) -> str:
        run = f"DAG {self.dag_id}, run {self.run_id}"
        task = f"{self.task_id}" + ("" if self.map_index is None else f"[{self.map_index}]")
        if self.dag_reason is not None:
            named = f" One of its tasks: {task}." if self.task_id else ""
            return f"{run}: {self.dag_reason}.{named}"
        ended = {"success": "succeeded", "up_for_retry": "failed", None: "failed"}.get(self.state, self.state)
        tried = f" in try {self.try_number}" if self.try_number else ""
        again = "; another try follows" if self.state == "up_for_retry" else ""
        return f"Task {task} of {run}: {ended}{tried}{again}."


@jinja2.pass_context
def kumo_job_summary(context: Any) -> KumoJobSummary:
    """Return what to tell about the task of a callback's context.

    In Python, give it the context that Airflow gives to the callback. In a template, where it is called without
    arguments, make it known with ``DAG(user_defined_macros={"kumo_job_summary": kumo_job_summary})``: then
    ``{{ kumo_job_summary() }}`` is the message, and ``{{ kumo_job_summary().cause }}`` a part of it.

    Fails for no missing knowledge: a notification with less in it is worth more than none.

    :param context: the context of ``on_failure_callback``, ``on_success_callback``, ``on_retry_callback`` or
        ``on_skipped_callback``, of a task or of a DAG.
    """
    ti = context.get("ti")
    if ti is None:
        # A DAG's own callback, when Airflow names no task.
        return KumoJobSummary(
            dag_id=context["dag"].dag_id, run_id=str(context.get("run_id")), dag_reason=str(context.get("reason"))
        )
    left, unread = _left_behind(ti) if _has_xcoms(context, ti) else ({}, "Airflow 3.0 does not answer here")
    state = _text(getattr(ti.state, "value", ti.state))
    result = left.get("return_value")
    result = result if isinstance(result, dict) and "job_id" in result else {}
    reason = left.get(REASON_KEY) if state == "skipped" else None
    return KumoJobSummary(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=ti.map_index if ti.map_index is not None and ti.map_index >= 0 else None,
        try_number=ti.try_number,
        state=state,
        cause=_cause_of(context.get("exception"), reason),
        dag_reason=_text(context.get("reason")),
        job_id=_text(left.get("job_id")),
        tracking_url=_text(left.get(TRACKING_URL_KEY)),
        metrics=(result.get("metrics") or {}).get("test") or {},
        num_entities_predicted=result.get("num_entities_predicted"),
        log_url=ti.log_url,
        unread=unread,
    )


def _has_xcoms(context: Any, ti: Any) -> bool:
    """Whether XComs may be asked for: the DAG processor of Airflow 3.0 never answers, and a callback waits for ever.

    It calls those of DAGs, and those of tasks whose worker has gone, and tells them neither a state nor an exception.
    """
    return AIRFLOW_V_3_1_PLUS or not AIRFLOW_V_3_0_PLUS or ti.state is not None or "exception" in context


def _left_behind(ti: Any) -> tuple[dict[str, Any], str | None]:
    """Return the task's own XComs by key, and why they could not be read if so."""
    left: dict[str, Any] = {}
    for key in ("job_id", TRACKING_URL_KEY, "return_value", REASON_KEY):
        try:
            left[key] = ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)
        # Airflow runs callbacks in several of its processes, and not all of them can ask for XComs in every version.
        except Exception as error:  # noqa: BLE001
            return left, f"{type(error).__name__}: {error}"
    return left, None


def _cause_of(exception: BaseException | str | None, reason: Any) -> str | None:
    if exception is None:
        text = _text(reason)
    elif isinstance(exception, str | AirflowFailException):
        # The text of the latter names the class that it was made from.
        text = str(exception)
    else:
        text = f"{type(exception).__name__}: {exception}"
    return text if text is None or len(text) <= _LONGEST_CAUSE else text[:_LONGEST_CAUSE] + "…"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:.4g}"
