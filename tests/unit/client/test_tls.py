from __future__ import annotations

import pytest

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.config import KumoConfig
from airflow_provider_kumo.client.errors import KumoConfigurationError, KumoUnavailableError
from airflow_provider_kumo.client.policy import ONE_TRY

LOOK = calls.list_connectors()


@pytest.fixture(autouse=True)
def no_bundles(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def config(url: str, **changes) -> KumoConfig:
    return KumoConfig(base_url=url, secret="acme:s3cr3t", **changes)


@pytest.mark.parametrize(("which", "trusted"), [("right", False), ("wrong", True)], ids=["unknown", "of another host"])
def test_a_certificate_that_is_not_trusted_is_refused_before_the_key_is_sent(
    connect, clock, stub, certificates, which, trusted
):
    bundle, context = certificates[which]
    server = stub(tls=context)
    wire = connect(config(server.url, verify=bundle if trusted else True))
    with pytest.raises(KumoConfigurationError, match="certificate") as caught:
        wire.send(LOOK)
    assert server.origin in str(caught.value)
    assert "ca_bundle" in str(caught.value)
    assert server.asked == []
    assert clock.pauses == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("how", ["ca_bundle", "verify off", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_of_ones_own_authority_is_accepted(connect, stub, certificates, monkeypatch, how):
    bundle, context = certificates["right"]
    if how.endswith("CA_BUNDLE"):
        monkeypatch.setenv(how, bundle)
    verify = {"ca_bundle": bundle, "verify off": False}.get(how, True)
    assert connect(config(stub(tls=context).url, verify=verify)).send(LOOK) == 0


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verify_off_wins_over_the_environment(connect, stub, certificates, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates["wrong"][0])
    assert connect(config(stub(tls=certificates["right"][1]).url, verify=False)).send(LOOK) == 0


def test_a_bundle_that_is_not_there_is_named(connect, stub, certificates):
    url = stub(tls=certificates["right"][1]).url
    with pytest.raises(KumoConfigurationError, match=r"/nowhere/ca\.pem"):
        connect(config(url, verify="/nowhere/ca.pem")).send(LOOK, budgets=ONE_TRY)


def test_a_bundle_without_certificates_is_named(connect, stub, certificates, tmp_path):
    (tmp_path / "odd.pem").write_text("this is no certificate")
    url = stub(tls=certificates["right"][1]).url
    with pytest.raises(KumoConfigurationError):
        connect(config(url, verify=str(tmp_path / "odd.pem"))).send(LOOK, budgets=ONE_TRY)


def test_https_to_a_server_of_plain_http_is_trouble_of_the_connection(connect, stub):
    url = stub().url.replace("http://", "https://")
    with pytest.raises(KumoUnavailableError, match="cannot be reached"):
        connect(config(url)).send(LOOK, budgets=ONE_TRY)
