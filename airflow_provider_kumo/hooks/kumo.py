"""From an Airflow connection to a client of Kumo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowException, BaseHook, mask_secret

from airflow_provider_kumo import connection_form
from airflow_provider_kumo.client.config import EXTRA_FIELDS, KumoConfig, config_from_connection
from airflow_provider_kumo.client.errors import KumoConfigurationError, KumoConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_kumo.client import calls
    from airflow_provider_kumo.client.aio import AsyncKumoClient
    from airflow_provider_kumo.client.policy import Budgets
    from airflow_provider_kumo.client.sync import KumoClient

T = TypeVar("T")

# The Test button of Airflow 2.11 sends each field under both names; what it saves has the plain ones only.
_TWINS = frozenset(f"extra__kumo__{name}" for name in EXTRA_FIELDS)


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

    def async_client(self, *, budgets: Budgets | None = None) -> AsyncKumoClient:
        """Return a client for triggers; an async context manager.

        :param budgets: for how long a connection that Airflow does not hand out is waited for; default 30 minutes.
        """
        from airflow_provider_kumo.client.aio import AsyncKumoClient
        from airflow_provider_kumo.client.policy import Budgets

        return AsyncKumoClient(self._aload_config, log=self.log, budgets=budgets or Budgets())

    def send(self, call: calls.Call[T], *, budgets: Budgets | None = None) -> T:
        """Send a call and return its result, which is masked in the task's log if it is a secret.

        :param call: one of :mod:`airflow_provider_kumo.client.calls`.
        :param budgets: for how long trouble is waited out.
        :raises KumoError: the class says the cause.
        """
        result = self.get_conn().send(call, budgets=budgets)
        if call.is_secret:
            mask_secret(cast("Any", result))
        return result

    def test_connection(self) -> tuple[bool, str]:
        """Check the connection within seconds. Returns whether it is good, and a sentence for a reader."""
        from airflow_provider_kumo.client.check import check, one_sentence

        try:
            config = self._load_config()
        except KumoConfigurationError as error:
            # The Test button gives the connection a random id, which tells nobody anything.
            told = str(error).removeprefix(f"Connection {self.kumo_conn_id!r}: ")
            return False, one_sentence(f"The connection cannot be used: {told}")
        return check(config, log=self.log)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the fields of the connection form for Airflow before 3.2; later ones read the provider's metadata."""
        return connection_form.widgets_before_airflow_3_2()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the rest of the connection form for Airflow before 3.2."""
        return connection_form.behaviour_before_airflow_3_2()

    def _load_config(self) -> KumoConfig:
        connection = self.get_connection(self.kumo_conn_id)
        return self._config(connection, connection.extra_dejson)

    async def _aload_config(self) -> KumoConfig:
        try:
            connection = await get_async_connection(self.kumo_conn_id, hook=self)
            extra = await get_async_extra_dejson(connection)
        except AirflowException as error:
            # Triggerers have been seen to be told that a connection is not there, and to have it a second later.
            raise KumoConnectionLostError(f"Connection {self.kumo_conn_id!r} cannot be had: {error}.") from error
        return self._config(connection, extra)

    def _config(self, connection: Any, extra: Mapping[str, Any]) -> KumoConfig:
        config = config_from_connection(
            conn_id=self.kumo_conn_id,
            host=connection.host,
            port=connection.port,
            schema=connection.schema,
            password=connection.password,
            extra=extra,
        )
        if unknown := sorted(set(extra) - EXTRA_FIELDS - _TWINS):
            self.log.warning(
                "Connection %r: unknown extras, which do nothing: %s", self.kumo_conn_id, ", ".join(unknown)
            )
        if config.verify is False:
            self.log.warning("Connection %r: TLS certificates are not checked.", self.kumo_conn_id)
        return config
