"""What an error of Kumo means to Airflow: whether running the task again can mend it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_kumo.client.errors import KumoError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """Let errors that a retry can mend pass, and raise AirflowFailException from those that it cannot.

    The original error is the cause of the one that Airflow sees, and its class is named in the text.
    """
    try:
        yield
    except KumoError as error:
        if error.retryable:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
