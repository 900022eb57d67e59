"""Tasks that belong together, ready to be placed in a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import task_group

from airflow_provider_kumo.client.errors import KumoArgumentError
from airflow_provider_kumo.operators.gate import KumoMetricGateOperator
from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


# Without a tooltip Airflow shows the whole docstring as one.
@task_group(tooltip="Retrain a predictive query, then predict with the new model")
def retrain_and_predict(
    *,
    pquery_id: str,
    outputs: Sequence[Mapping[str, Any]] = (),
    prediction_time: Any = None,
    minimum_metrics: Mapping[str, float] | None = None,
    maximum_metrics: Mapping[str, float] | None = None,
    retrain_args: Mapping[str, Any] | None = None,
    predict_args: Mapping[str, Any] | None = None,
) -> None:
    """Retrain a predictive query, then predict with the new model, if it is good enough.

    A task group of ``retrain``, ``predict`` and, if there are bounds, ``metric_gate`` between them. Call it in a DAG,
    or map it with ``retrain_and_predict.partial(...).expand(pquery_id=[...])``. Airflow's ``override(group_id=...,
    default_args=...)`` names it and gives arguments to all its tasks. Returns the group.

    What is mapped is not templated by Airflow, as in every mapped task group.

    :param pquery_id: id or name of the predictive query.
    :param outputs: where the predictions go, each made by a function of :mod:`airflow_provider_kumo.outputs`.
    :param prediction_time: the moment to predict from.
    :param minimum_metrics: the least that metrics of the test split may be, such as ``{"auroc": 0.75}``; predict is
        skipped if the new model misses one.
    :param maximum_metrics: the most that they may be, such as ``{"mae": 20}``.
    :param retrain_args: further arguments of :class:`~airflow_provider_kumo.operators.kumo.KumoRetrainOperator`.
    :param predict_args: further arguments of
        :class:`~airflow_provider_kumo.operators.kumo.KumoBatchPredictOperator`.
    :raises KumoArgumentError: an argument cannot be used.
    """
    retrain = KumoRetrainOperator(task_id="retrain", pquery_id=pquery_id, **(retrain_args or {}))
    if not retrain.wait_for_completion:
        raise KumoArgumentError("retrain_args: with wait_for_completion=False there would be no model to predict with.")
    training: Any = retrain.output
    predict = KumoBatchPredictOperator(
        task_id="predict",
        training_job_id=training["job_id"],
        outputs=outputs,
        prediction_time=prediction_time,
        **(predict_args or {}),
    )
    if minimum_metrics is not None or maximum_metrics is not None:
        gate = KumoMetricGateOperator(
            task_id="metric_gate",
            training=training,
            minimum_metrics=minimum_metrics,
            maximum_metrics=maximum_metrics,
        )
        gate >> predict
