from __future__ import annotations

import pytest

from airflow_provider_kumo.client.errors import (
    KumoJobFailedError,
    KumoJobTimeoutError,
    KumoQuotaError,
    KumoSubmissionUnknownError,
    KumoUnavailableError,
)

retry_policy = pytest.importorskip("airflow.sdk.definitions.retry_policy", reason="Airflow 3.3 brought retry policies")


@pytest.mark.parametrize(
    ("error", "action", "minutes"),
    [
        (KumoUnavailableError("down"), "retry", 10),
        (KumoSubmissionUnknownError("lost"), "retry", 10),
        (KumoQuotaError("full"), "retry", 30),
        (KumoJobTimeoutError("late", job_id="trainingjob-1"), "fail", None),
        (KumoJobFailedError("bad", job_id="trainingjob-1"), "default", None),
        (RuntimeError("other"), "default", None),
    ],
)
def test_each_kind_of_trouble_has_its_pause(error, action, minutes):
    from airflow_provider_kumo.retry import kumo_retry_policy

    decision = kumo_retry_policy().evaluate(error, try_number=1, max_tries=3)
    assert decision.action.value == action
    assert (decision.retry_delay.total_seconds() / 60 if decision.retry_delay else None) == minutes


def test_a_dag_with_the_policy_can_be_serialized():
    from airflow_provider_kumo.retry import kumo_retry_policy

    policy = kumo_retry_policy()
    assert (
        type(policy).deserialize(policy.serialize()).evaluate(KumoQuotaError("full"), 1, 3).retry_delay
        == policy.rules[0].retry_delay
    )
