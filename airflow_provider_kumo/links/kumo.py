"""The "Kumo job" button on a task's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskInstanceKey

TRACKING_URL_KEY = "tracking_url"


class KumoJobLink(BaseOperatorLink):
    """Opens the page of the task's job in Kumo.

    Airflow 3 reads the XCom named by ``xcom_key``, which the operators push as soon as there is a job; Airflow 2
    asks :meth:`get_link`.
    """

    name = "Kumo job"

    @property
    def xcom_key(self) -> str:
        """The XCom that holds the URL."""
        return TRACKING_URL_KEY

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the URL, or an empty text while there is no job."""
        return XCom.get_value(key=TRACKING_URL_KEY, ti_key=ti_key) or ""
