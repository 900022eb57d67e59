from __future__ import annotations

import json
import logging
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


# -- the Test button -----------------------------------------------------------------------------
# What it says is tested in client/test_check.py.


def test_a_good_connection_tests_good(kumo_emulator):
    good, said = KumoHook().test_connection()
    assert good is True
    assert said.startswith(f"Kumo at {kumo_emulator.origin} takes the key of ")


def test_a_wrong_key_tests_bad_at_once(kumo_emulator, connection):
    connection(password="acme:s3cr3t")
    good, said = KumoHook().test_connection()
    assert good is False
    assert said.startswith(f"Kumo at {kumo_emulator.origin} does not take the key: ")
    assert len(kumo_emulator.requests) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"password": "acme:s3cr3t\n"},
            "The connection cannot be used: its password holds a space, a line break or another character that no API "
            "key has; copy the key again, without what surrounds it.",
        ),
        (
            {"password": None},
            "The connection cannot be used: it has no API key; put the key from Kumo's settings into the password.",
        ),
        (
            {"host": "ftp://kumo"},
            "The connection cannot be used: its host 'ftp://kumo' is no http(s) URL, such as 'https://kumo.example.com/api'.",
        ),
        (
            {"host": "http://kumo.example.com"},
            "The connection cannot be used: its host 'kumo.example.com' is plain http, which would send the API key "
            "unencrypted; use https, or set 'allow_http' in the connection if the network is trusted.",
        ),
        (
            {"extra": {"read_timeout": "soon"}},
            "The connection cannot be used: its read_timeout is 'soon'; it must be a number of seconds above zero.",
        ),
    ],
)
def test_a_field_that_cannot_be_used_is_told_without_asking_anybody(kumo_emulator, connection, fields, said):
    connection(**fields)
    assert KumoHook().test_connection() == (False, said)
    assert kumo_emulator.requests == []
