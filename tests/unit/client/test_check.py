from __future__ import annotations

import re

import pytest

from airflow_provider_kumo.client.check import check, one_sentence
from airflow_provider_kumo.client.config import KumoConfig
from tests.unit.client.conftest import Lines

KEY = "acme:s3cr3t"


def checked(url: str, **changes) -> tuple[bool, str]:
    """Check a connection; whatever is said is one sentence without the key."""
    good, said = check(KumoConfig(**{"base_url": url, "secret": KEY, **changes}), log=Lines())
    assert said.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", said), said
    assert "s3cr3t" not in said
    return good, said


@pytest.fixture(autouse=True)
def key(request) -> None:
    if "kumo_emulator" in request.fixturenames:
        request.getfixturevalue("kumo_emulator").rotate_key(KEY)


def test_a_good_connection_tells_whose_it_is_where_and_how_quick(kumo_emulator):
    good, said = checked(kumo_emulator.url)
    assert good is True
    told = re.escape(f"Kumo at {kumo_emulator.origin} takes the key of acme (") + r"(\d+) ms\)"
    assert int(re.match(told, said)[1]) < 5000
    assert said.endswith("; access control (RBAC) is off.")
    assert [request.path for request in kumo_emulator.requests] == ["/api/v1/connectors", "/api/config"]


def test_a_key_without_a_customer_id_has_no_owner_that_could_be_told(kumo_emulator):
    kumo_emulator.rotate_key("s3cr3t")
    good, said = checked(kumo_emulator.url, secret="s3cr3t")
    assert good is True
    assert "takes the key (" in said


@pytest.mark.kumo_emulator(rbac=True)
@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({"group_id": "g1", "project_id": "p1"}, "on (group g1, project p1)."),
        ({"group_id": "g1"}, "on, but the connection names no project_id."),
        ({}, "on, but the connection names no group_id and no project_id."),
    ],
)
def test_access_control_is_told_and_what_it_lacks(kumo_emulator, scope, said):
    good, message = checked(kumo_emulator.url, scope=scope)
    assert good is True
    assert message.endswith(f"; access control (RBAC) is {said}")


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 404}, {"kind": "html"}, {"kind": "drop_before"}])
def test_a_kumo_that_does_not_tell_about_access_control_is_good(kumo_emulator, fault):
    kumo_emulator.inject(**fault, path="/config", count=None)
    good, said = checked(kumo_emulator.url)
    assert good is True
    assert said.endswith("; access control (RBAC) is on or off, which this Kumo does not tell.")


def test_a_key_that_is_not_kumos_is_told_at_once(kumo_emulator):
    assert checked(kumo_emulator.url, secret="acme:s3cr3ts") == (
        False,
        f"Kumo at {kumo_emulator.origin} does not take the key: it is mistyped, or a newer key has replaced it.",
    )
    assert len(kumo_emulator.requests) == 1


def test_a_host_without_a_route_is_told_at_once(free_port):
    good, said = checked(f"http://127.0.0.1:{free_port}/api")
    assert good is False
    assert re.fullmatch(rf"Kumo at http://127\.0\.0\.1:{free_port} cannot be reached: .*refused.*\.", said)


def test_a_host_that_does_not_speak_tls_is_told(kumo_emulator):
    good, said = checked(kumo_emulator.url.replace("http://", "https://"))
    assert good is False
    assert " cannot be reached: it answers, but does not speak TLS; its URL may begin with http:// (" in said


def test_a_name_that_is_no_host_is_told():
    good, said = checked("https://kumo.invalid/api")
    assert good is False
    assert said.startswith("Kumo at https://kumo.invalid cannot be reached: ")


def test_a_wrong_path_is_told_with_what_is_missing(kumo_emulator):
    good, said = checked(kumo_emulator.origin)
    assert good is False
    assert said.startswith(f"There is no API of Kumo at {kumo_emulator.origin}, which answered HTTP 404")
    assert said.endswith(": check the host, and the path, which only Kumo's own cloud gets by itself (/api).")


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ({"kind": "html", "status": 200}, "which sent no readable JSON: an HTML page, not Kumo's API: "),
        ({"kind": "status", "status": 200, "body": '{"a": 1}'}, "which sent something else than the API describes ("),
    ],
    ids=["a web page", "another API"],
)
def test_what_is_not_kumo_is_told(kumo_emulator, fault, what):
    kumo_emulator.inject(**fault)
    good, said = checked(kumo_emulator.url)
    assert good is False
    assert said.startswith(f"There is no API of Kumo at {kumo_emulator.url}, {what}")


def test_a_redirect_is_told_and_not_followed(kumo_emulator, stub):
    other = stub()
    kumo_emulator.inject("redirect", location=f"{other.url}/?key=s3cr3t")
    assert checked(kumo_emulator.url) == (
        False,
        f"Kumo at {kumo_emulator.origin} answered HTTP 302; it redirects elsewhere, and the key is sent to the "
        "configured host only; name the final host in the connection.",
    )
    assert other.asked == []


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_another_answer_is_told_in_kumos_words_at_once(kumo_emulator, status):
    kumo_emulator.inject("status", status=status, body='{"detail": "Not for s3cr3t today. Come again."}', count=None)
    good, said = checked(kumo_emulator.url, secret="s3cr3t")
    assert good is False
    assert said.startswith(f"Kumo at {kumo_emulator.origin} answered HTTP {status}: Not for *** today; come again")
    assert len(kumo_emulator.requests) == 1


def test_a_certificate_that_is_not_trusted_is_told_before_the_key_is_sent(stub, certificates, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    server = stub(tls=certificates["right"][1])
    good, said = checked(server.url)
    assert good is False
    assert said.startswith(f"The certificate of Kumo at {server.origin} is not trusted: ")
    assert said.endswith("; name the authority's file as ca_bundle in the connection.")
    assert server.asked == []


def test_a_ca_bundle_that_is_not_there_is_named(stub, certificates):
    good, said = checked(stub(tls=certificates["right"][1]).url, verify="/nowhere/ca.pem")
    assert good is False
    assert "/nowhere/ca.pem" in said


def test_timeouts_of_hours_do_not_keep_a_person_waiting(kumo_emulator, monkeypatch):
    monkeypatch.setattr("airflow_provider_kumo.client.check._READ_TIMEOUT", 0.2)
    kumo_emulator.inject("latency", seconds=30)
    good, said = checked(kumo_emulator.url, read_timeout=7200)
    assert good is False
    assert said.startswith(f"Kumo at {kumo_emulator.origin} cannot be reached: ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One.", "One."),
        ("One", "One."),
        ("One. Two! Three?", "One; two!; three?."),
        (
            "At kumo.ai v1.2 it\n fails. Kumo said so. HTTP is down.",
            "At kumo.ai v1.2 it fails; Kumo said so; HTTP is down.",
        ),
    ],
)
def test_sentences_become_one(text, sentence):
    assert one_sentence(text) == sentence
