"""A retry policy for Airflow 3.3 and later: which trouble is worth which pause, and what is not worth a retry."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_kumo.client.errors import (
    KumoJobTimeoutError,
    KumoQuotaError,
    KumoSubmissionUnknownError,
    KumoUnavailableError,
)

if TYPE_CHECKING:
    from airflow.sdk import ExceptionRetryPolicy


def kumo_retry_policy(
    *, outage_delay: timedelta = timedelta(minutes=10), quota_delay: timedelta = timedelta(minutes=30)
) -> ExceptionRetryPolicy:
    """Return a policy for the ``retry_policy`` argument of this provider's operators.

    An outage has been waited out for half an hour before it becomes an error, so the next try pauses longer than a
    task's usual ``retry_delay``; a full queue pauses longer still. A job that was cancelled because it took too long
    is not started again: it would take as long. Whatever no retry can mend fails for good without this policy too,
    and a failed job is left to the task's own ``retries`` and ``retry_delay``.

    :param outage_delay: pause before the next try after Kumo could not be reached.
    :param quota_delay: pause before the next try after Kumo took no more jobs.
    :raises ImportError: Airflow is older than 3.3, which has no retry policies.
    """
    from airflow.providers.common.compat.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    return ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=KumoQuotaError,
                action=RetryAction.RETRY,
                retry_delay=quota_delay,
                reason="Kumo takes no more jobs for now",
            ),
            RetryRule(
                exception=[KumoUnavailableError, KumoSubmissionUnknownError],
                action=RetryAction.RETRY,
                retry_delay=outage_delay,
                reason="Kumo could not be reached",
            ),
            RetryRule(
                exception=KumoJobTimeoutError,
                action=RetryAction.FAIL,
                reason="The job took longer than the task's timeout and would again",
            ),
        ]
    )
