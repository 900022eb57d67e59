"""What to tell at the two ends of waiting for a job, and the error of its cause if it has not ended well."""

from __future__ import annotations

from airflow_provider_kumo.client.errors import (
    KumoJobAbandonedError,
    KumoJobCancelledError,
    KumoJobError,
    KumoJobFailedError,
    KumoJobTimeoutError,
)
from airflow_provider_kumo.client.jobs import Job, JobStatus, show_duration


def error_of(job: Job) -> KumoJobError | None:
    """Return why a job that has ended did not end well, or None if it did.

    :param job: a job in a terminal status. Any other is an error too: nothing succeeds by being misread.
    """
    if job.status == JobStatus.DONE:
        return None
    if job.status == JobStatus.CANCELLED and job.cancel_requested:
        return KumoJobAbandonedError(f"{_name(job)} was cancelled on behalf of this task.{_link(job)}", job_id=job.id)
    if job.status == JobStatus.CANCELLED:
        return KumoJobCancelledError(f"{_name(job)} was cancelled in Kumo{_where(job)}.{_link(job)}", job_id=job.id)
    causes = " ".join(job.errors) or job.stage_detail or "Kumo gave no reason."
    return KumoJobFailedError(f"{_name(job)} ended as {job.status}{_where(job)}: {causes}{_link(job)}", job_id=job.id)


def timeout_of(job: Job, *, timeout: float, since: str) -> KumoJobTimeoutError:
    """Return the error of a job that has not ended in time.

    :param timeout: the task's timeout in seconds.
    :param since: what it counts from.
    """
    return KumoJobTimeoutError(
        f"{_name(job)} has not ended within {show_duration(timeout)} of {since}, which is the task's timeout; "
        f"it is {job.status}{_where(job)} now.{_link(job)}",
        job_id=job.id,
    )


def opening_line(job: Job) -> str:
    """Return what to log about a job that something else has started, once, before it is waited for."""
    return f"Waiting for {job.kind.label} {job.id}. See {job.tracking_url or 'it in Kumo'}"


def closing_lines(job: Job, *, now: float) -> list[str]:
    """Return what to log about a job that has ended: its outcome, how long it took, and its metrics.

    :param now: POSIX time in seconds, for a job whose end Kumo does not tell.
    """
    ended = job.ended_at.timestamp() if job.ended_at is not None else now
    lines = [f"{job.kind.label.capitalize()} {job.id} ended as {job.status} after {show_duration(job.age(now=ended))}."]
    lines += [f"Kumo warns: {warning}" for warning in job.warnings]
    if job.num_entities_predicted is not None:
        lines.append(f"Entities predicted: {job.num_entities_predicted:,}")
    lines += _metrics_table(job)
    if job.nonfinite_metrics:
        lines.append(f"Not finite, returned as null: {', '.join(job.nonfinite_metrics)}")
    return lines


def _name(job: Job) -> str:
    of = f" of predictive query {job.pquery_id}" if job.pquery_id else ""
    of += f" with model {job.training_job_id}" if job.training_job_id else ""
    return f"{job.kind.label.capitalize()} {job.id}{of}"


def _where(job: Job) -> str:
    return f" in stage {job.stage!r}" if job.stage else ""


def _link(job: Job) -> str:
    return f" See {job.tracking_url}" if job.tracking_url else ""


def _metrics_table(job: Job) -> list[str]:
    splits = [split for split in ("test", "validation", "training") if job.metrics.get(split)]
    if not splits:
        return []
    names = list(dict.fromkeys(name for split in splits for name in job.metrics[split]))
    width = max(len("metric"), *(len(name) for name in names))
    header = f"{'metric':<{width}}" + "".join(f"  {split:>10}" for split in splits)
    rows = [f"{name:<{width}}" + "".join(f"  {_cell(job, split, name):>10}" for split in splits) for name in names]
    return [header, *rows]


def _cell(job: Job, split: str, name: str) -> str:
    value = job.metrics[split].get(name)
    return "-" if value is None else f"{value:.4g}"
