from __future__ import annotations

import pytest
from airflow.models.connection import Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kumo.client.config import AuthType, KumoConfig, config_from_connection
from airflow_provider_kumo.client.errors import KumoConfigurationError

KEY = "acme:s3cr3t"
quickly = settings(deadline=None, max_examples=60)


def read(host=None, *, port=None, schema=None, password=KEY, **extra) -> KumoConfig:
    return config_from_connection(
        conn_id="kumo_test", host=host, port=port, schema=schema, password=password, extra=extra
    )


@pytest.mark.parametrize(
    ("host", "more", "url"),
    [
        (None, {}, "https://acme.kumoai.cloud/api"),
        ("", {}, "https://acme.kumoai.cloud/api"),
        ("  ", {}, "https://acme.kumoai.cloud/api"),
        (None, {"password": "acme.trial:x"}, "https://acme.trial.kumoai.cloud/api"),
        ("kumo.example.com", {}, "https://kumo.example.com"),
        (" kumo.example.com ", {}, "https://kumo.example.com"),
        ("KUMO.Example.com", {}, "https://kumo.example.com"),
        ("kumo.example.com/api", {}, "https://kumo.example.com/api"),
        ("kumo.example.com/api/", {}, "https://kumo.example.com/api"),
        ("https://kumo.example.com/", {}, "https://kumo.example.com"),
        ("https://kumo.example.com/a/b//", {}, "https://kumo.example.com/a/b"),
        ("HTTPS://kumo.example.com", {}, "https://kumo.example.com"),
        ("kumo.example.com:8443", {}, "https://kumo.example.com:8443"),
        ("kumo.example.com", {"port": 8443}, "https://kumo.example.com:8443"),
        ("kumo.example.com:8443", {"port": 1}, "https://kumo.example.com:8443"),
        ("kumo.example.com", {"port": 443}, "https://kumo.example.com"),
        ("acme.kumoai.cloud", {"port": 443}, "https://acme.kumoai.cloud/api"),
        ("kumo.example.com", {"port": 0}, "https://kumo.example.com"),
        ("http://127.0.0.1:80/api", {}, "http://127.0.0.1/api"),
        (None, {"port": 443}, "https://acme.kumoai.cloud/api"),
        ("kumo.example.com/api", {"port": 8443}, "https://kumo.example.com:8443/api"),
        ("kumo.example.com", {"schema": "https"}, "https://kumo.example.com"),
        ("kumo.example.com", {"schema": "api"}, "https://kumo.example.com/api"),
        ("kumo.example.com", {"schema": "/a/b/"}, "https://kumo.example.com/a/b"),
        ("kumo.example.com/api", {"schema": "other"}, "https://kumo.example.com/api"),
        ("kumo.example.com", {"schema": "http", "allow_http": True}, "http://kumo.example.com"),
        ("https://kumo.example.com", {"schema": "http"}, "https://kumo.example.com"),
        ("http://kumo.example.com", {"allow_http": True}, "http://kumo.example.com"),
        ("acme.kumoai.cloud", {}, "https://acme.kumoai.cloud/api"),
        ("https://acme.kumoai.cloud/", {}, "https://acme.kumoai.cloud/api"),
        ("https://acme.kumoai.cloud/public_api", {}, "https://acme.kumoai.cloud/public_api"),
        ("acme.trial.kumoai.cloud", {}, "https://acme.trial.kumoai.cloud/api"),
        ("notkumoai.cloud", {}, "https://notkumoai.cloud"),
        ("localhost:8123/api", {}, "http://localhost:8123/api"),
        ("127.0.0.1", {"port": 8123}, "http://127.0.0.1:8123"),
        ("http://127.0.0.1:8123/api", {}, "http://127.0.0.1:8123/api"),
        ("https://localhost", {}, "https://localhost"),
        ("[::1]:8123", {}, "http://[::1]:8123"),
        ("[::1]", {"port": 8123}, "http://[::1]:8123"),
        ("https://[2001:db8::1]:8443/api", {}, "https://[2001:db8::1]:8443/api"),
        ("10.0.0.7", {}, "https://10.0.0.7"),
        ("kumo_1.internal", {}, "https://kumo_1.internal"),
    ],
)
def test_a_host_may_be_written_in_any_way(host, more, url):
    assert read(host, **more).base_url == url


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("kumo://:acme%3As3cr3t@kumo.example.com:8443/api", "https://kumo.example.com:8443/api"),
        ("kumo://:acme%3As3cr3t@kumo.example.com", "https://kumo.example.com"),
        ("kumo://:acme%3As3cr3t@", "https://acme.kumoai.cloud/api"),
        ("kumo://:acme%3As3cr3t@/", "https://acme.kumoai.cloud/api"),
        ("kumo://:acme%3As3cr3t@/?read_timeout=5", "https://acme.kumoai.cloud/api"),
        ("kumo://:acme%3As3cr3t@localhost:8123/api", "http://localhost:8123/api"),
        ("kumo://:acme%3As3cr3t@kumo.example.com/http?allow_http=true", "http://kumo.example.com"),
        ("kumo://http://:acme%3As3cr3t@127.0.0.1:8123/api", "http://127.0.0.1:8123/api"),
        ("kumo://https://:acme%3As3cr3t@kumo.example.com/api", "https://kumo.example.com/api"),
    ],
)
def test_a_connection_uri_says_the_same(uri, url):
    connection = Connection(conn_id="kumo_test", uri=uri)
    found = read(
        connection.host,
        port=connection.port,
        schema=connection.schema,
        password=connection.password,
        **connection.extra_dejson,
    )
    assert (found.base_url, found.secret) == (url, KEY)


@pytest.mark.parametrize(
    "host",
    [
        "ftp://kumo.example.com",
        "://kumo.example.com",
        "kumo.example.com:port",
        "kumo.example.com:99999",
        "kumo example.com",
        "kumo.example.com/a b",
        "kumo.example.com/\nX-Evil: 1",
        "kumo.example.com?x=1",
        "kumo.example.com#x",
        "https://",
        "https:///api",
        "[::1",
        "[not-an-ip]",
        "-kumo.example.com",
        "kümo.example.com",
    ],
)
def test_a_host_that_is_none_is_refused_by_name(host):
    with pytest.raises(KumoConfigurationError, match=r"^Connection 'kumo_test': its host ") as caught:
        read(host)
    assert caught.value.retryable is False


@pytest.mark.parametrize("schema", [" ", "a b", "api?x=1", "api#x", "api\nX-Evil: 1", "\x1f"])
def test_a_schema_that_is_no_path_is_refused(schema):
    with pytest.raises(KumoConfigurationError, match="kumo_test"):
        read("kumo.example.com", schema=schema)


@pytest.mark.parametrize(
    "host", ["https://user:hunter2@kumo.example.com", "user:hunter2@kumo.example.com", "hunter2@x"]
)
def test_credentials_in_a_host_are_refused_and_not_repeated(host):
    with pytest.raises(KumoConfigurationError) as caught:
        read(host)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("password", [None, ""])
def test_a_missing_key_is_told(password):
    with pytest.raises(KumoConfigurationError, match="has no API key"):
        read("kumo.example.com", password=password)


@pytest.mark.parametrize(
    "password",
    ["acme:s3cr3t\n", " acme:s3cr3t", "acme: s3cr3t", "acme:s3cr3t\r\nX: y", "acme:sécret", "acme:\x00", "\u200b"],
)
def test_a_key_that_was_copied_badly_is_told_and_not_repeated(password):
    with pytest.raises(KumoConfigurationError, match="Copy the key again") as caught:
        read("kumo.example.com", password=password)
    assert "cr3t" not in str(caught.value)


@pytest.mark.parametrize("password", ["justonepart", ":s3cr3t", "-acme:x", "ac/me:x", "a@b:x", "../x:y", "a#b:x"])
def test_a_key_that_does_not_name_a_customer_needs_a_host(password):
    with pytest.raises(KumoConfigurationError, match="Name the host in the connection") as caught:
        read(None, password=password)
    assert password not in str(caught.value)
    assert read("kumo.example.com", password=password).secret == password


@pytest.mark.parametrize(
    "host", ["http://kumo.example.com", "http://10.0.0.7:8888/public_api", "http://localhost.evil.com"]
)
def test_the_key_goes_over_plain_http_to_this_machine_only_unless_allowed(host):
    with pytest.raises(KumoConfigurationError, match=r"unencrypted.*allow_http"):
        read(host)
    with pytest.raises(KumoConfigurationError, match="allow_http"):
        read(host, allow_http="false")
    assert read(host, allow_http="true").base_url == host


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1", "http://127.8.8.8:1", "http://localhost", "http://kumo.localhost", "http://[::1]"]
)
def test_plain_http_stays_on_this_machine_without_asking(host):
    assert read(host).base_url == host


@pytest.mark.parametrize(
    ("extra", "field", "value"),
    [
        ({}, "auth_type", AuthType.API_KEY),
        ({"auth_type": "snowflake"}, "auth_type", AuthType.SNOWFLAKE),
        ({"auth_type": None}, "auth_type", AuthType.API_KEY),
        ({"auth_type": ""}, "auth_type", AuthType.API_KEY),
        ({}, "verify", True),
        ({"verify": False}, "verify", False),
        ({"verify": "False"}, "verify", False),
        ({"verify": "no"}, "verify", False),
        ({"verify": 0}, "verify", False),
        ({"verify": ""}, "verify", True),
        ({"verify": None, "ca_bundle": "/etc/ca.pem"}, "verify", "/etc/ca.pem"),
        ({"verify": True, "ca_bundle": ""}, "verify", True),
        ({"verify": False, "ca_bundle": "/etc/ca.pem"}, "verify", False),
        ({}, "connect_timeout", 10.0),
        ({"connect_timeout": "2.5"}, "connect_timeout", 2.5),
        ({"connect_timeout": ""}, "connect_timeout", 10.0),
        ({"read_timeout": 5}, "read_timeout", 5.0),
        ({}, "read_timeout", 60.0),
        ({}, "poll_interval", None),
        ({"poll_interval": "30"}, "poll_interval", 30.0),
        ({}, "scope", {}),
        ({"group_id": "g1", "project_id": ""}, "scope", {"group_id": "g1"}),
        ({"group_id": "g1", "project_id": 7}, "scope", {"group_id": "g1", "project_id": "7"}),
        ({"__extra__": "{}", "something": "else"}, "scope", {}),
    ],
)
def test_extras_are_read_typed_or_as_text(extra, field, value):
    assert getattr(read("kumo.example.com", **extra), field) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth_type", "bearer"),
        ("verify", "maybe"),
        ("verify", 2),
        ("allow_http", "perhaps"),
        ("ca_bundle", 7),
        ("connect_timeout", "soon"),
        ("connect_timeout", 0),
        ("connect_timeout", -1),
        ("read_timeout", "nan"),
        ("read_timeout", "inf"),
        ("poll_interval", [1]),
    ],
)
def test_an_extra_that_cannot_be_used_is_named_with_what_it_holds(name, value):
    with pytest.raises(KumoConfigurationError) as caught:
        read("kumo.example.com", **{name: value})
    assert str(caught.value).startswith("Connection 'kumo_test': ")
    assert f"its {name} is {value!r}; it must be" in str(caught.value)
    assert KEY not in str(caught.value)


def test_the_key_is_not_in_the_representation():
    found = read("kumo.example.com", password="acme:s3cr3t", group_id="g1")
    assert "s3cr3t" not in repr(found)
    assert "s3cr3t" not in str(found)
    assert "kumo.example.com" in repr(found)


def test_a_message_shows_the_host_without_the_path():
    assert read("kumo.example.com:8443/api").origin == "https://kumo.example.com:8443"


@quickly
@given(host=st.text(max_size=40), port=st.none() | st.integers(1, 65535), schema=st.none() | st.text(max_size=10))
def test_any_host_gives_a_url_or_a_clear_error(host, port, schema):
    try:
        found = read(host, port=port, schema=schema, allow_http=True)
    except KumoConfigurationError:
        pass
    else:
        assert found.base_url.startswith(("http://", "https://"))
        assert not found.base_url.endswith("/")
        assert found.base_url.isprintable()
        assert " " not in found.base_url
        assert "?" not in found.base_url
        assert "#" not in found.base_url
        assert "@" not in found.base_url


@quickly
@given(
    st.dictionaries(
        st.sampled_from(["verify", "read_timeout", "auth_type", "ca_bundle", "group_id"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9), st.lists, max_leaves=3
        ),
    )
)
def test_any_extra_gives_a_configuration_or_a_clear_error(extra):
    try:
        found = read("kumo.example.com", **extra)
    except KumoConfigurationError:
        pass
    else:
        assert all(isinstance(value, str) and value for value in found.scope.values())
        assert found.read_timeout > 0
