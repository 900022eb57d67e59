"""Lets only a good model pass to what comes after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_kumo.arguments import check_settled
from airflow_provider_kumo.client.errors import KumoArgumentError
from airflow_provider_kumo.client.quality import held_out_metrics, shortfalls
from airflow_provider_kumo.client.requests import check_bounds
from airflow_provider_kumo.failures import told_to_airflow
from airflow_provider_kumo.links.kumo import TRACKING_URL_KEY, KumoJobLink

# Where a task that skips itself leaves its reason; read by notifications/summary.py.
REASON_KEY = "reason"

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context


class KumoMetricGateOperator(BaseOperator):
    """Skip what comes after a training whose model is not good enough.

    The gate itself is skipped, with the reason in its log and its XCom ``reason``; Airflow's default trigger rule then
    skips the tasks behind it. It asks nothing of Kumo. Returns the metrics that were judged.

    :param training: the result of a :class:`~airflow_provider_kumo.operators.kumo.KumoRetrainOperator`, such as
        ``retrain.output``. (templated)
    :param minimum_metrics: the least that metrics of the test split may be, such as ``{"auroc": 0.75}``. (templated)
    :param maximum_metrics: the most that they may be, such as ``{"mae": 20}``. (templated)
    """

    template_fields: Sequence[str] = ("training", "minimum_metrics", "maximum_metrics")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(template_fields, "json")
    operator_extra_links = (KumoJobLink(),)
    ui_color = "#fde8ef"

    def __init__(
        self,
        *,
        training: Any,
        minimum_metrics: Mapping[str, float] | None = None,
        maximum_metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training = training
        self.minimum_metrics = minimum_metrics
        self.maximum_metrics = maximum_metrics
        if minimum_metrics is None and maximum_metrics is None:
            raise KumoArgumentError("Give minimum_metrics, maximum_metrics or both: a gate without one lets all pass.")
        check_settled(check_bounds, "minimum_metrics", minimum_metrics)
        check_settled(check_bounds, "maximum_metrics", maximum_metrics)

    def execute(self, context: Context) -> dict[str, float | None]:
        """Hold the model's metrics against the bounds.

        :raises AirflowSkipException: a metric misses its bound, or is null.
        :raises AirflowFailException: the bounds name a metric that the model has not, or cannot be used.
        """
        with told_to_airflow():
            minimum = check_bounds("minimum_metrics", self.minimum_metrics)
            maximum = check_bounds("maximum_metrics", self.maximum_metrics)
            metrics = held_out_metrics(self.training)
            missed = shortfalls(metrics, minimum=minimum, maximum=maximum)
        link = self.training.get("tracking_url")
        context["ti"].xcom_push(key=TRACKING_URL_KEY, value=link)
        if missed:
            where = f" See {link}" if link else ""
            reason = (
                f"The model of {self.training['job_id']} is not good enough: on the test data "
                f"{', and '.join(missed)}.{where}"
            )
            # Airflow keeps the text of a skip in the log alone, out of the callback's reach.
            context["ti"].xcom_push(key=REASON_KEY, value=reason)
            raise AirflowSkipException(reason)
        judged = {name: metrics[name] for name in metrics if name in minimum or name in maximum}
        self.log.info(
            "The model of %s is good enough: %s",
            self.training["job_id"],
            ", ".join(f"{name} is {value:.4g}" for name, value in judged.items()) or "nothing is asked of it",
        )
        return judged
