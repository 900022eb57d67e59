"""What the event of an asset (before Airflow 3: a dataset) says about the job that has updated it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset

try:
    from airflow.sdk.definitions.asset import AssetRef

    # A reference is an asset of another file, by its name or URI.
    _ASSETS: tuple[type, ...] = (Asset, AssetRef)
except ImportError:  # before Airflow 3
    _ASSETS = (Asset,)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_kumo.client.jobs import Job


def describe_outlets(outlets: Sequence[Any], context: Mapping[str, Any], job: Job) -> None:
    """Write a job into the events that Airflow emits for a task's outlets when the task succeeds.

    An asset alias names no asset of its own, and Airflow has no event for it: only assets are described.

    :param outlets: of the task.
    :param context: of the running task; a deferred task must write into the context that it resumed with.
    :param job: what the events tell.
    """
    for outlet in outlets:
        if isinstance(outlet, _ASSETS):
            context["outlet_events"][outlet].extra.update(event_extra(job))


def event_extra(job: Job) -> dict[str, Any]:
    """Return a job as the extra of an asset event.

    Flat, so that a template reads it without detours, and because Airflow 2.11 and 3.0 fail the task over an extra that
    holds a list or an object if its event came through an alias.

    :returns: ``job_id``, ``kind``, ``status``, ``training_job_id`` (the model: of a training, the job itself),
        ``pquery_id``, ``tracking_url``, ``ended_at``, ``num_entities_predicted``, and each metric as ``test_<name>``,
        ``validation_<name>`` and ``training_<name>``.
    """
    result = job.result()
    metrics = {
        f"{split}_{name}": value for split, values in result["metrics"].items() for name, value in values.items()
    }
    told = ("job_id", "kind", "status", "pquery_id", "tracking_url", "ended_at", "num_entities_predicted")
    return {**metrics, **{key: result[key] for key in told}, "training_job_id": job.model_id}
