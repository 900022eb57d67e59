"""Whether a trained model is good enough: its test metrics against bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_kumo.client.errors import KumoArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping


def held_out_metrics(training: Any) -> Mapping[str, float | None]:
    """Return the metrics on the test split, those on data that the model has not seen.

    :param training: what :meth:`Job.result` returns of a training job that is DONE.
    :raises KumoArgumentError: it is anything else.
    """
    try:
        metrics: Mapping[str, float | None] = training["metrics"]["test"]
        job, status = training["job_id"], training["status"]
    except (KeyError, TypeError):
        raise KumoArgumentError(
            f"training: got {str(training)[:100]!r}; it must be the result of a retrain, such as retrain.output."
        ) from None
    if not metrics:
        raise KumoArgumentError(f"training: {job} is {status} and has no test metrics to judge it by.")
    return metrics


def shortfalls(
    metrics: Mapping[str, float | None], *, minimum: Mapping[str, float], maximum: Mapping[str, float]
) -> list[str]:
    """Return what each metric that misses its bound is, and which bound; nothing if the model is good enough.

    A metric that Kumo could not compute misses every bound: a model that cannot be judged is not let pass.

    :param minimum: the least that a metric may be, by name.
    :param maximum: the most that a metric may be, by name.
    :raises KumoArgumentError: the model has no metric of a name, so the bound can never be met.
    """
    missed = []
    for argument, bounds, word in (
        ("minimum_metrics", minimum, "below the minimum"),
        ("maximum_metrics", maximum, "above the maximum"),
    ):
        for name, bound in bounds.items():
            if name not in metrics:
                raise KumoArgumentError(
                    f"{argument}: the model has no test metric {name!r}; it has {', '.join(metrics)}."
                )
            value = metrics[name]
            if value is None:
                missed.append(f"{name} is null, so it cannot be held against {bound:g}")
            elif value < bound if bounds is minimum else value > bound:
                missed.append(f"{name} is {value:.4g}, {word} of {bound:g}")
    return missed
