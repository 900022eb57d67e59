"""From an Airflow connection to a client of Kumo."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.config import EXTRA_FIELDS, KumoConfig, config_from_connection
from airflow_provider_kumo.client.errors import KumoError
from airflow_provider_kumo.client.policy import ONE_TRY, Budgets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_kumo.client.aio import AsyncKumoClient
    from airflow_provider_kumo.client.sync import KumoClient

T = TypeVar("T")


class KumoHook(BaseHook):
    """Holds the API key from an Airflow connection and sends calls to Kumo with it.

    What can be asked is in :mod:`airflow_provider_kumo.client.calls`::

        job = KumoHook().send(calls.get_job(JobKind.TRAINING, "trainingjob-1"))

    The connection is looked up at the first call, and again whenever Kumo refuses the key. Neither HTTP library is
    imported before it is used.

    :param kumo_conn_id: id of the Airflow connection of type ``kumo``.
    """

    conn_name_attr = "kumo_conn_id"
    default_conn_name = "kumo_default"
    conn_type = "kumo"
    hook_name = "Kumo"

    def __init__(self, kumo_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kumo_conn_id = kumo_conn_id
        self._client: KumoClient | None = None

    def get_conn(self) -> KumoClient:
        """Return the client for workers, made at the first call.

        :raises KumoConfigurationError: the connection cannot be used.
        """
        if self._client is None:
            self._client = self.new_client()
        return self._client

    def new_client(self) -> KumoClient:
        """Return a client with connections of its own, for use beside one that may be in the middle of a call."""
        from airflow_provider_kumo.client.sync import KumoClient

        return KumoClient(self._load_config, log=self.log)

    def async_client(self) -> AsyncKumoClient:
        """Return a client for triggers; an async context manager."""
        from airflow_provider_kumo.client.aio import AsyncKumoClient

        return AsyncKumoClient(self._aload_config, log=self.log)

    def send(self, call: calls.Call[T], *, budgets: Budgets | None = None) -> T:
        """Send a call and return its result.

        :param call: one of :mod:`airflow_provider_kumo.client.calls`.
        :param budgets: for how long trouble is waited out.
        :raises KumoError: the class says the cause.
        """
        return self.get_conn().send(call, budgets=budgets)

    def test_connection(self) -> tuple[bool, str]:
        """Check the key with the same request as Kumo's own client does. Returns whether it is good, and a sentence."""
        try:
            with self.new_client() as client:
                started = time.monotonic()
                count = client.send(calls.list_connectors(), budgets=ONE_TRY)
                took = time.monotonic() - started
                return True, f"Kumo at {client.config.origin} takes the key ({count} connectors, {took * 1000:.0f} ms)."
        except KumoError as error:
            return False, str(error)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form for Airflow before 3.2; later ones read the provider's metadata."""
        return {
            "hidden_fields": ["login", "schema", "port"],
            "relabeling": {"password": "API key", "host": "Kumo host"},
            "placeholders": {
                "host": "empty: https://<customer id of the key>.kumoai.cloud/api",
                "password": "<customer id>:<secret>",
            },
        }

    def _load_config(self) -> KumoConfig:
        connection = self.get_connection(self.kumo_conn_id)
        return self._config(connection, connection.extra_dejson)

    async def _aload_config(self) -> KumoConfig:
        connection = await get_async_connection(self.kumo_conn_id, hook=self)
        return self._config(connection, await get_async_extra_dejson(connection))

    def _config(self, connection: Any, extra: Mapping[str, Any]) -> KumoConfig:
        config = config_from_connection(
            conn_id=self.kumo_conn_id,
            host=connection.host,
            port=connection.port,
            schema=connection.schema,
            password=connection.password,
            extra=extra,
        )
        if unknown := sorted(set(extra) - EXTRA_FIELDS):
            self.log.warning(
                "Connection %r: unknown extras, which do nothing: %s", self.kumo_conn_id, ", ".join(unknown)
            )
        if config.verify is False:
            self.log.warning("Connection %r: TLS certificates are not checked.", self.kumo_conn_id)
        return config
