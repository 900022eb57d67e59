from __future__ import annotations

import json
import logging
import socket
from urllib.parse import quote

import pytest
from airflow.exceptions import AirflowException, AirflowNotFoundException

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import KumoConfigurationError, KumoNotFoundError
from airflow_provider_kumo.client.jobs import JobKind
from airflow_provider_kumo.hooks.kumo import KumoHook

CONNECTORS = calls.list_connectors()


def as_uri(kumo) -> str:
    """Write the connection the other way that an environment variable may hold it."""
    return f"kumo://:{quote(kumo.api_key, safe='')}@{kumo.origin.removeprefix('http://')}/api?poll_interval=0.5"


@pytest.fixture
def connection(kumo_emulator, monkeypatch):
    """Return a function that changes the connection of the environment."""

    def change(**fields) -> None:
        changed = {**kumo_emulator.connection, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", json.dumps(changed))

    return change


def test_a_connection_in_json_reaches_kumo(kumo_emulator):
    assert KumoHook().send(CONNECTORS) == 3


def test_a_connection_as_uri_reaches_kumo(kumo_emulator, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_KUMO_OTHER", as_uri(kumo_emulator))
    hook = KumoHook("kumo_other")
    assert hook.send(CONNECTORS) == 3
    assert hook.get_conn().config.poll_interval == 0.5
    assert hook.get_conn().config.base_url == kumo_emulator.url


@pytest.mark.kumo_emulator(rbac=True)
def test_group_and_project_come_from_the_connection(kumo_emulator):
    hook = KumoHook()
    assert hook.get_conn().config.scope == {"group_id": "g1", "project_id": "p1"}
    assert len(hook.send(calls.list_jobs(JobKind.TRAINING))) == 3


async def test_a_trigger_reaches_kumo_too(kumo_emulator):
    async with KumoHook().async_client() as client:
        assert await client.send(CONNECTORS) == 3


def test_a_client_is_kept_and_a_new_one_is_another(kumo_emulator):
    hook = KumoHook()
    assert hook.get_conn() is hook.get_conn()
    with hook.new_client() as other:
        assert other is not hook.get_conn()
        assert other.send(CONNECTORS) == 3


def test_nothing_is_looked_up_before_the_first_call(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_KUMO_DEFAULT", raising=False)
    hook = KumoHook("kumo_nowhere")
    assert hook.kumo_conn_id == "kumo_nowhere"
    with pytest.raises((AirflowNotFoundException, AirflowException), match="kumo_nowhere"):
        hook.get_conn()


def test_a_connection_that_cannot_be_used_is_named(connection):
    connection(host="http://kumo.example.com")
    with pytest.raises(KumoConfigurationError, match=r"Connection 'kumo_default': .*plain http"):
        KumoHook().get_conn()


def test_a_rotated_key_is_read_from_the_connection_again(kumo_emulator, connection, monkeypatch):
    hook = KumoHook()
    hook.send(CONNECTORS)
    connection(password=kumo_emulator.rotate_key())
    monkeypatch.setattr("airflow_provider_kumo.client.policy.full_jitter", lambda tries: 0.001)
    assert hook.send(CONNECTORS) == 3


async def test_a_rotated_key_is_read_by_a_trigger_again(kumo_emulator, connection, monkeypatch):
    async with KumoHook().async_client() as client:
        await client.send(CONNECTORS)
        connection(password=kumo_emulator.rotate_key())
        monkeypatch.setattr("airflow_provider_kumo.client.policy.full_jitter", lambda tries: 0.001)
        assert await client.send(CONNECTORS) == 3


def test_unchecked_certificates_are_told(kumo_emulator, connection, caplog, monkeypatch):
    # Airflow 3 logs past the standard library, which caplog reads.
    monkeypatch.setattr(KumoHook, "log", logging.getLogger(__name__))
    connection(extra={"verify": False})
    KumoHook().get_conn()
    assert "Connection 'kumo_default': TLS certificates are not checked." in caplog.text


def test_an_error_of_kumo_comes_through(kumo_emulator):
    with pytest.raises(KumoNotFoundError, match="trainingjob-1 not found"):
        KumoHook().send(calls.get_job(JobKind.TRAINING, "trainingjob-1"))


# -- the button in the UI ------------------------------------------------------------------------


def test_a_good_connection_tests_good_with_one_request(kumo_emulator):
    good, said = KumoHook().test_connection()
    assert good is True
    assert f"Kumo at {kumo_emulator.origin} takes the key (3 connectors, " in said
    assert len(kumo_emulator.requests) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "acme:wr0ng"}, "HTTP 401: Invalid API key"),
        ({"password": "acme:wr0ng\n"}, "Copy the key again"),
        ({"password": None}, "has no API key"),
        ({"host": "ftp://kumo"}, "is no http(s) URL"),
        ({"extra": {"read_timeout": "soon"}}, "read_timeout is 'soon'"),
    ],
)
def test_a_bad_connection_tests_bad_at_once_and_says_why_without_the_key(kumo_emulator, connection, fields, said):
    connection(**fields)
    good, message = KumoHook().test_connection()
    assert good is False
    assert said in message
    assert "wr0ng" not in message
    assert len(kumo_emulator.requests) <= 1


def test_a_host_without_a_route_tests_bad_at_once(kumo_emulator, connection):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    connection(host=f"http://127.0.0.1:{port}/api")
    good, message = KumoHook().test_connection()
    assert good is False
    assert f"Kumo at http://127.0.0.1:{port} cannot be reached" in message
    assert kumo_emulator.api_key not in message


def test_a_wrong_path_tests_bad_with_what_kumo_said(kumo_emulator, connection):
    connection(host=kumo_emulator.origin)
    good, message = KumoHook().test_connection()
    assert good is False
    assert "HTTP 404" in message
