"""One table for both transports: what is sent, what comes back, and what every trouble becomes."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from logging import getLogger
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.aio import AsyncKumoClient
from airflow_provider_kumo.client.config import USER_AGENT, AuthType, KumoConfig
from airflow_provider_kumo.client.errors import (
    KumoAuthenticationError,
    KumoConfigurationError,
    KumoError,
    KumoForbiddenError,
    KumoNotFoundError,
    KumoQuotaError,
    KumoRequestRefusedError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.jobs import JobKind
from airflow_provider_kumo.client.policy import ONE_TRY, Budgets
from airflow_provider_kumo.client.requests import prediction_request, training_request
from airflow_provider_kumo.emulator.local import LocalKumo

T, P = JobKind.TRAINING, JobKind.PREDICTION
KEY = "acme:s3cr3t-0123456789"
TRAIN = training_request(pquery_id="churn_30d")
LOOK = calls.list_connectors()


def config(url: str, **changes) -> KumoConfig:
    # Over plain http nothing is verified; reading a bundle of authorities for each test would take seconds in all.
    return KumoConfig(**{"base_url": url, "secret": KEY, "verify": False, **changes})


# -- what goes well ------------------------------------------------------------------------------


def test_connectors_are_counted(to_emulator):
    assert to_emulator.send(LOOK) == 3


def test_the_feature_flags_are_read(to_emulator):
    assert to_emulator.send(calls.get_config()) == {"rbac": False}


def test_predictive_queries_are_listed_and_read(to_emulator):
    listed = to_emulator.send(calls.list_predictive_queries(name_pattern="churn*"))
    read = to_emulator.send(calls.get_predictive_query("churn_30d"))
    assert listed == [read]
    assert read.name == "churn_30d"
    assert "PREDICT" in read.query_string
    assert set(read.graph["tables"]) == {"users", "orders", "items"}


def test_a_graph_is_registered_and_a_snapshot_of_it_made(to_emulator):
    graph = to_emulator.send(calls.get_predictive_query("churn_30d")).graph
    graph_id = to_emulator.send(calls.save_graph(graph))
    assert to_emulator.send(calls.save_graph(graph)) == graph_id
    first, second = (to_emulator.send(calls.create_graph_snapshot(graph_id)) for _ in range(2))
    assert first.startswith(f"{graph_id}@")
    assert first != second


def test_a_training_is_started_followed_tagged_and_cancelled(to_emulator, kumo_emulator):
    kumo_emulator.hold()
    job_id = to_emulator.send(calls.create_training_job(training_request(pquery_id="churn_30d", job_tags={"a": "1"})))
    kumo_emulator.wait_for(lambda: kumo_emulator.job(job_id).status == "RUNNING")
    assert to_emulator.send(calls.update_tags(T, job_id, {"run": "scheduled__2026-11-20T00:00:00+00:00 &=é"})) is True
    job = to_emulator.send(calls.get_job(T, job_id))
    assert (job.id, job.status, job.tags["pquery_id"]) == (job_id, "RUNNING", "pquery-churn-30d")
    assert job.tags["a"] == "1"
    assert job.tags["run"] == "scheduled__2026-11-20T00:00:00+00:00 &=é"
    # Only the id: the job goes on between the two looks.
    assert [found.id for found in to_emulator.send(calls.list_jobs(T, tags={"run": job.tags["run"]}))] == [job_id]
    assert to_emulator.send(calls.get_progress(T, job_id)).kind is T
    assert to_emulator.send(calls.cancel_job(T, job_id)) is True
    kumo_emulator.wait_for(lambda: kumo_emulator.job(job_id).status == "CANCELLED")
    assert to_emulator.send(calls.cancel_job(T, job_id)) is False


def test_a_prediction_is_started_and_its_files_found(to_emulator, kumo_emulator):
    model = to_emulator.send(calls.list_jobs(T, pquery_name="churn_30d", status="DONE", limit=1))[0]
    body = prediction_request(training_job_id=model.id, num_workers=2)
    job_id = to_emulator.send(calls.create_prediction_job(body))
    kumo_emulator.finish(job_id)
    job = to_emulator.send(calls.get_job(P, job_id))
    assert (job.status, job.training_job_id) == ("DONE", model.id)
    assert job.num_entities_predicted > 1_000_000
    assert len(to_emulator.send(calls.get_prediction_urls(job_id))) == 2
    assert len(to_emulator.send(calls.get_embedding_urls(job_id))) == 2


def test_a_prediction_that_kumo_rejects_is_an_error_though_the_answer_is_a_200(to_emulator, kumo_emulator):
    kumo_emulator.reject_next(title="Bad output", message="The table is read-only.")
    with pytest.raises(KumoRequestRefusedError, match=r"Bad output\. The table is read-only\."):
        to_emulator.send(calls.create_prediction_job(prediction_request(training_job_id="trainingjob-1")))
    assert kumo_emulator.jobs("prediction") == []


@pytest.mark.parametrize("path", ["list", "get"])
def test_a_link_to_a_job_points_to_the_configured_host(kumo_emulator, connect, path):
    # "localhost" and "127.0.0.1" are the same machine under two names; Kumo itself names the latter.
    named = kumo_emulator.origin.replace("127.0.0.1", "localhost")
    wire = connect(config(f"{named}/api", secret=kumo_emulator.api_key))
    job = wire.send(calls.list_jobs(T, limit=1))[0]
    job = wire.send(calls.get_job(T, job.id)) if path == "get" else job
    assert job.tracking_url == f"{named}/jobs/{job.id}"


# -- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth_type", "name", "value"),
    [
        (AuthType.API_KEY, "x-api-key", KEY),
        (AuthType.SNOWFLAKE, "authorization", f'Snowflake Token="{KEY}"'),
    ],
)
def test_the_key_is_sent_the_way_the_connection_says(stub, connect, auth_type, name, value):
    server = stub()
    connect(config(server.url, auth_type=auth_type)).send(LOOK)
    headers = server.asked[0].headers
    assert headers[name] == value
    assert headers["user-agent"] == USER_AGENT
    assert headers["accept"] == "application/json"
    assert len({"x-api-key", "authorization"} & headers.keys()) == 1


def test_a_body_is_sent_as_json_and_a_call_without_one_sends_none(stub, connect):
    server = stub(lambda asked: (200, {}, b'{"id": "x", "is_cancelled": true}'))
    wire = connect(config(server.url))
    wire.send(calls.create_training_job(TRAIN))
    wire.send(calls.cancel_job(T, "trainingjob-1"))
    first, second = server.asked
    assert (first.method, json.loads(first.body)) == ("POST", TRAIN)
    assert first.headers["content-type"].startswith("application/json")
    assert (second.method, second.body) == ("POST", b"")


@pytest.mark.parametrize("name", ["../x", "a/b?c#d", "%2e%2e", "a%2Fb", "Ümläut", "a+b c", "x;y=1&z", "x" * 10_000])
def test_an_odd_id_arrives_as_it_was_quoted(stub, connect, name):
    server = stub(lambda asked: (404, {}, b""))
    call = calls.cancel_job(T, name)
    with pytest.raises(KumoNotFoundError):
        connect(config(server.url)).send(call)
    assert server.asked[0].target == "/api" + call.path


def test_odd_tags_arrive_as_they_are(stub, connect):
    tags = {"run_id": "manual__2026-11-20T00:00:00+00:00", "b": "x y&c=1#d?e/é%20;", "empty": ""}
    server = stub(lambda asked: (200, {}, b'{"resource_updated": true}'))
    connect(config(server.url)).send(calls.update_tags(T, "trainingjob-1", tags))
    asked = urlsplit(server.asked[0].target)
    assert dict(parse_qsl(asked.query, keep_blank_values=True)) == tags


def test_group_and_project_go_with_every_v1_call_and_no_other(stub, connect):
    server = stub(lambda asked: (200, {}, b"{}" if asked.target.startswith("/api/config") else b"[]"))
    wire = connect(config(server.url, scope={"group_id": "g1", "project_id": "p 1"}))
    wire.send(LOOK)
    wire.send(calls.list_jobs(T, limit=5))
    wire.send(calls.get_config())
    assert [dict(parse_qsl(urlsplit(asked.target).query)) for asked in server.asked] == [
        {"group_id": "g1", "project_id": "p 1"},
        {"limit": "5", "group_id": "g1", "project_id": "p 1"},
        {},
    ]


@pytest.mark.kumo_emulator(rbac=True)
def test_access_control_lets_the_right_project_in_and_keeps_others_out(kumo_emulator, connect, clock):
    scope = {"group_id": "g1", "project_id": "p1"}
    inside = connect(config(kumo_emulator.url, secret=kumo_emulator.api_key, scope=scope))
    assert len(inside.send(calls.list_jobs(T))) == 3
    outside = connect(config(kumo_emulator.url, secret=kumo_emulator.api_key))
    with pytest.raises(KumoForbiddenError, match="group_id"):
        outside.send(calls.list_jobs(T))


def test_a_cookie_is_not_sent_back(stub, connect):
    server = stub(lambda asked: (200, {"Set-Cookie": "session=1; Path=/"}, b"[]"))
    wire = connect(config(server.url))
    wire.send(LOOK)
    wire.send(LOOK)
    assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


def test_netrc_does_not_replace_the_credentials(stub, connect, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = stub()
    connect(config(server.url, auth_type=AuthType.SNOWFLAKE)).send(LOOK)
    assert server.asked[0].headers["authorization"] == f'Snowflake Token="{KEY}"'


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(stub, connect, monkeypatch, variable):
    proxy = stub()
    monkeypatch.setenv(variable, proxy.origin)
    assert connect(config("http://kumo.example.test/api")).send(LOOK, budgets=ONE_TRY) == 0
    assert [asked.target for asked in proxy.asked] == ["http://kumo.example.test/api/v1/connectors"]


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "http://someone:else@127.0.0.1:{port}"])
def test_a_proxy_may_be_written_without_scheme_or_with_credentials(stub, connect, monkeypatch, form):
    proxy = stub()
    monkeypatch.setenv("http_proxy", form.format(port=proxy.port))
    connect(config("http://kumo.example.test/api")).send(LOOK, budgets=ONE_TRY)
    assert proxy.asked[0].target == "http://kumo.example.test/api/v1/connectors"
    assert proxy.asked[0].headers.get("proxy-authorization") == (
        "Basic c29tZW9uZTplbHNl" if "someone" in form else None
    )


@pytest.mark.parametrize("form", ["127.0.0.1", "*", "other.test, 127.0.0.1", "127.0.0.0/8"])
def test_no_proxy_is_honoured(stub, connect, monkeypatch, form):
    server, proxy = stub(), stub()
    monkeypatch.setenv("http_proxy", proxy.origin)
    monkeypatch.setenv("no_proxy", form.format(port=server.port))
    connect(config(server.url)).send(LOOK)
    assert (len(server.asked), len(proxy.asked)) == (1, 0)


@pytest.mark.parametrize("form", ["kumo.example.test", ".example.test", "kumo.example.test:{port}"])
def test_no_proxy_may_name_a_host_a_domain_or_a_port(stub, connect, monkeypatch, form):
    server, proxy = stub(), stub()
    monkeypatch.setenv("http_proxy", proxy.origin)
    monkeypatch.setenv("no_proxy", form.format(port=server.port))
    _resolve(monkeypatch, "kumo.example.test")
    connect(config(server.url.replace("127.0.0.1", "kumo.example.test"))).send(LOOK)
    assert (len(server.asked), len(proxy.asked)) == (1, 0)


def _resolve(monkeypatch, name: str) -> None:
    """Let a name stand for this machine."""
    real = socket.getaddrinfo

    def resolve(host, *args, **kwargs):
        return real("127.0.0.1" if host == name else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_a_proxy_that_is_down_is_trouble_that_passes(connect, monkeypatch, free_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port}")
    with pytest.raises(KumoUnavailableError) as caught:
        connect(config("http://kumo.example.test/api")).send(LOOK, budgets=ONE_TRY)
    assert caught.value.reached is False


# -- every trouble has its class -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error_class", "retryable", "reached", "said"),
    [
        ({"status": 400, "body": '{"detail": "Odd."}'}, KumoRequestRefusedError, False, False, "HTTP 400: Odd."),
        ({"status": 401, "body": '{"detail": "Who?"}'}, KumoAuthenticationError, False, False, "Who? Put the current"),
        ({"status": 403}, KumoForbiddenError, False, False, "group_id and project_id"),
        ({"status": 404, "body": '{"detail": "Gone."}'}, KumoNotFoundError, False, False, "HTTP 404: Gone."),
        ({"status": 408}, KumoUnavailableError, True, False, "HTTP 408"),
        ({"status": 409}, KumoRequestRefusedError, False, False, "HTTP 409"),
        (
            {"status": 422, "body": '{"detail": [{"loc": ["body", "job_tags"], "msg": "Field required"}]}'},
            KumoRequestRefusedError,
            False,
            False,
            "HTTP 422: job_tags: Field required",
        ),
        (
            {"status": 422, "body": '{"detail": "Predictive query x does not exist."}'},
            KumoRequestRefusedError,
            False,
            False,
            "HTTP 422: Predictive query x does not exist.",
        ),
        ({"status": 425}, KumoUnavailableError, True, False, "HTTP 425"),
        ({"status": 429, "body": '{"detail": "Too many."}'}, KumoQuotaError, True, False, "HTTP 429: Too many."),
        ({"status": 500, "body": ""}, KumoUnavailableError, True, True, "HTTP 500."),
        ({"kind": "html", "status": 502}, KumoUnavailableError, True, True, "HTTP 502: an HTML page"),
        ({"kind": "html", "status": 503}, KumoUnavailableError, True, True, "HTTP 503: an HTML page"),
        ({"kind": "html", "status": 200}, KumoUnavailableError, True, True, "no readable JSON: an HTML page"),
        ({"status": 200, "body": ""}, KumoUnavailableError, True, True, "no readable JSON: nothing"),
        ({"status": 200, "body": "{}"}, KumoUnavailableError, True, True, "something else than the API describes"),
        ({"status": 200, "body": "[" * 100_000}, KumoUnavailableError, True, True, "no readable JSON"),
        ({"status": 200, "body": "\ud800[]"}, KumoUnavailableError, True, True, "no readable JSON"),
        ({"kind": "cut_json"}, KumoUnavailableError, True, True, "no readable JSON"),
        ({"kind": "huge", "size": 9 * 1024 * 1024}, KumoUnavailableError, True, True, "more than 8388608 bytes"),
        ({"kind": "drop_before"}, KumoUnavailableError, True, True, "cannot be reached"),
        ({"kind": "drop_after"}, KumoUnavailableError, True, True, "cannot be reached"),
    ],
    ids=lambda value: "-".join(str(part)[:20] for part in value.values()) if isinstance(value, dict) else "",
)
def test_trouble_has_the_class_of_its_cause(to_emulator, kumo_emulator, fault, error_class, retryable, reached, said):
    kumo_emulator.inject(**{"kind": "status", **fault}, count=None)
    with pytest.raises(KumoError) as caught:
        to_emulator.send(LOOK, budgets=ONE_TRY)
    error = caught.value
    assert type(error) is error_class
    assert (error.retryable, error.reached) == (retryable, reached)
    assert said in str(error)
    assert f"Could not list connectors: Kumo at {kumo_emulator.origin} " in str(error)
    # aiohttp itself repeats a GET once when a connection breaks.
    assert len(kumo_emulator.requests) <= (2 if "drop" in fault.get("kind", "") else 1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({"Retry-After": "7"}, 7), ({"retry-after": " 7 "}, 7), ({"Retry-After": "in an hour"}, 3600)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_both_forms(to_emulator, kumo_emulator, status, header, seconds):
    if seconds == 3600:
        header = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
    kumo_emulator.inject("status", status=status, headers=header)
    with pytest.raises(KumoUnavailableError) as caught:
        to_emulator.send(LOOK, budgets=ONE_TRY)
    assert caught.value.retry_after == pytest.approx(seconds, abs=60 if seconds == 3600 else 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_refused_and_the_key_goes_nowhere_else(to_emulator, kumo_emulator, stub, status):
    other = stub()
    kumo_emulator.inject("redirect", status=status, location=f"{other.url}/v1/connectors")
    with pytest.raises(KumoConfigurationError, match="redirects elsewhere"):
        to_emulator.send(LOOK)
    assert other.asked == []
    assert len(kumo_emulator.requests) == 1


def test_a_body_that_trickles_past_the_total_timeout_is_given_up(kumo_emulator, connect, clock):
    kumo_emulator.inject("trickle", seconds=0.05)
    hasty = config(kumo_emulator.url, secret=kumo_emulator.api_key, connect_timeout=0.1, read_timeout=0.2)
    with pytest.raises(KumoUnavailableError, match="too slowly"):
        connect(hasty).send(LOOK, budgets=ONE_TRY)


def test_an_answer_that_does_not_begin_in_time_may_have_been_acted_on(kumo_emulator, connect, clock):
    kumo_emulator.inject("latency", seconds=5)
    hasty = config(kumo_emulator.url, secret=kumo_emulator.api_key, connect_timeout=0.1, read_timeout=0.1)
    with pytest.raises(KumoUnavailableError) as caught:
        connect(hasty).send(calls.create_training_job(TRAIN))
    assert caught.value.reached is True


def test_a_refused_connection_is_trouble_that_was_certainly_not_acted_on(connect, free_port):
    with pytest.raises(KumoUnavailableError, match="cannot be reached") as caught:
        connect(config(f"http://127.0.0.1:{free_port}/api")).send(LOOK, budgets=ONE_TRY)
    assert caught.value.reached is False


def test_a_name_without_an_address_is_trouble_that_was_certainly_not_acted_on(connect, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(KumoUnavailableError, match=r"http://kumo\.example\.test cannot be reached") as caught:
        connect(config("http://kumo.example.test/api")).send(LOOK, budgets=ONE_TRY)
    assert caught.value.reached is False
    assert "/v1/connectors" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, b"[]"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"[" + b"1," * 5000 + b"1]")[:-20]),
        ({"Content-Length": "1000", "Connection": "close"}, b'[{"id": "x"}'),
        ({"Transfer-Encoding": "chunked", "Connection": "close"}, b"zz\r\n[]\r\n"),
    ],
    ids=["no gzip at all", "cut gzip", "shorter than announced", "bad chunks"],
)
def test_a_mangled_body_is_trouble_that_passes(stub, connect, headers, body):
    server = stub(lambda asked: (200, headers, body))
    with pytest.raises(KumoUnavailableError) as caught:
        connect(config(server.url)).send(LOOK, budgets=ONE_TRY)
    assert caught.value.reached is True


def test_a_compressed_answer_is_read(stub, connect):
    server = stub(lambda asked: (200, {"Content-Encoding": "gzip"}, gzip.compress(b"[1, 2]")))
    assert connect(config(server.url)).send(LOOK) == 2


def test_a_small_answer_that_unpacks_to_more_than_the_limit_is_refused(stub, connect):
    bomb = gzip.compress(b"[" + b"1," * 6_000_000 + b"1]")
    server = stub(lambda asked: (200, {"Content-Encoding": "gzip"}, bomb))
    with pytest.raises(KumoUnavailableError, match="more than"):
        connect(config(server.url)).send(LOOK, budgets=ONE_TRY)


def test_a_server_that_speaks_no_http_is_trouble_that_passes(connect):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        answered = _answer_once(listening, b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        with pytest.raises(KumoUnavailableError):
            connect(config(f"http://127.0.0.1:{port}/api")).send(LOOK, budgets=ONE_TRY)
        answered.join(5)


def _answer_once(listening: socket.socket, content: bytes) -> threading.Thread:
    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(content)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


# -- the key stays where it belongs --------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, 'acme:s3"cr\\3t/0123', "acme:" + "0123456789" * 10])
@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize(
    "body",
    [
        lambda key: json.dumps({"detail": f"Invalid API key {key}."}),
        lambda key: json.dumps({"detail": [{"loc": ["header", "x-api-key"], "msg": f"bad key {key}"}]}),
        lambda key: json.dumps([None, {"errors": [{"title": "Key", "message": f"{key} may not"}]}]),
        lambda key: f"proxy says: X-API-Key: {key}",
        lambda key: "x" * 180 + key,
        lambda key: "x" * 1980 + key,
    ],
    ids=["detail", "list", "rejection", "text", "at the cut of a 2xx", "at the cut of an error"],
)
def test_a_key_that_the_server_echoes_is_not_repeated(stub, connect, key, status, body):
    server = stub(lambda asked: (status, {}, body(asked.headers["x-api-key"]).encode()))
    wire = connect(config(server.url, secret=key))
    with pytest.raises(KumoError) as caught:
        wire.send(calls.create_prediction_job(prediction_request(training_job_id="trainingjob-1")), budgets=ONE_TRY)
    told = str(caught.value) + repr(caught.value) + "".join(text for _, text in wire.log.lines)
    # Not even a part of the secret, as a cut in its middle would leave.
    assert key[:12] not in told
    assert json.dumps(key)[1:-1] not in told


# -- what is repeated ----------------------------------------------------------------------------


def test_an_outage_is_waited_out_and_told_once_at_its_start_and_once_at_its_end(to_emulator, kumo_emulator, clock):
    kumo_emulator.inject("html", status=503, count=3)
    kumo_emulator.inject("cut_json", count=2)
    kumo_emulator.inject("status", status=429, count=2)
    kumo_emulator.inject("drop_before", count=2)
    assert to_emulator.send(LOOK) == 3
    assert len(kumo_emulator.requests) == 10
    assert len(clock.pauses) in (8, 9)
    (start,) = to_emulator.log.of("warning")
    assert "HTTP 503: an HTML page" in start
    assert "Trying again for a while." in start
    assert to_emulator.log.of("info") == [f"Kumo at {kumo_emulator.origin} answers again."]


def test_an_outage_is_told_once_however_many_requests_it_spoils(to_emulator, kumo_emulator, clock):
    kumo_emulator.inject("status", status=503, count=None)
    for _ in range(3):
        with pytest.raises(KumoUnavailableError):
            to_emulator.send(LOOK, budgets=Budgets(service=60.0))
    kumo_emulator.clear_faults()
    for _ in range(3):
        to_emulator.send(LOOK)
    assert len(to_emulator.log.of("warning")) == 1
    assert to_emulator.log.of("info") == [f"Kumo at {kumo_emulator.origin} answers again."]


def test_what_goes_well_says_nothing(to_emulator):
    to_emulator.send(LOOK)
    assert to_emulator.log.lines == []


def test_an_outage_longer_than_the_budget_is_an_error(to_emulator, kumo_emulator, clock):
    kumo_emulator.inject("html", count=None)
    with pytest.raises(KumoUnavailableError, match="HTTP 502"):
        to_emulator.send(LOOK, budgets=Budgets(service=600.0))
    assert sum(clock.pauses) == pytest.approx(600, abs=5)
    assert len(to_emulator.log.of("warning")) == 1
    assert to_emulator.log.of("info") == []


def test_the_server_decides_the_pause_within_reason(to_emulator, kumo_emulator, clock):
    kumo_emulator.inject("status", status=429, headers={"Retry-After": "17"})
    kumo_emulator.inject("status", status=503, headers={"Retry-After": "86400"})
    assert to_emulator.send(LOOK) == 3
    assert clock.pauses == [17, 300]


def test_a_job_that_is_not_there_yet_is_waited_for_only_if_asked(to_emulator, kumo_emulator, clock):
    model = to_emulator.send(calls.list_jobs(T))[0]
    kumo_emulator.inject("status", status=404, count=4)
    with pytest.raises(KumoNotFoundError):
        to_emulator.send(calls.get_job(T, model.id))
    assert to_emulator.send(calls.get_job(T, model.id), budgets=Budgets(missing=60.0)) == model


@pytest.mark.parametrize("kind", ["drop_after", "drop_before", "html", "cut_json"])
def test_a_submission_is_not_repeated_when_its_answer_was_lost(to_emulator, kumo_emulator, clock, kind):
    before = len(kumo_emulator.jobs("training"))
    kumo_emulator.inject(kind, method="POST")
    with pytest.raises(KumoUnavailableError) as caught:
        to_emulator.send(calls.create_training_job(TRAIN))
    assert caught.value.reached is True
    assert len(kumo_emulator.requests) == 1
    assert clock.pauses == []
    assert len(kumo_emulator.jobs("training")) - before == (1 if kind in ("drop_after", "cut_json") else 0)


def test_a_submission_that_was_certainly_not_taken_is_repeated(to_emulator, kumo_emulator, clock):
    before = len(kumo_emulator.jobs("training"))
    for status in (429, 408, 425):
        kumo_emulator.inject("status", status=status, method="POST")
    assert to_emulator.send(calls.create_training_job(TRAIN)).startswith("trainingjob-")
    assert len(clock.pauses) == 3
    assert len(kumo_emulator.jobs("training")) - before == 1


def test_a_submission_waits_for_a_server_that_is_not_there_yet(connect, clock, free_port):
    kumo = LocalKumo(port=free_port)
    clock.on_pause = lambda: kumo.start() if len(clock.pauses) == 3 else None
    wire = connect(config(f"http://127.0.0.1:{free_port}/api", secret="local:kumo"))
    try:
        assert wire.send(calls.create_training_job(TRAIN)).startswith("trainingjob-")
    finally:
        kumo.stop()
    assert len(clock.pauses) == 3


def test_a_refused_request_is_not_repeated(to_emulator, kumo_emulator, clock):
    with pytest.raises(KumoRequestRefusedError, match="Predictive query nothing does not exist"):
        to_emulator.send(calls.create_training_job(training_request(pquery_id="nothing")))
    assert clock.pauses == []
    assert to_emulator.log.lines == []


# -- a key that is rotated -----------------------------------------------------------------------


@pytest.mark.parametrize("call", [LOOK, calls.create_training_job(TRAIN)], ids=["look", "submit"])
def test_work_goes_on_once_the_connection_has_the_new_key(kumo_emulator, connect, clock, call):
    known = {"secret": kumo_emulator.api_key}
    wire = connect(lambda: config(kumo_emulator.url, **known))
    wire.send(LOOK)
    new = kumo_emulator.rotate_key()
    clock.on_pause = lambda: known.update(secret=new) if len(clock.pauses) == 3 else None
    kumo_emulator.clear_requests()
    assert wire.send(call)
    assert [seen.status for seen in kumo_emulator.requests] == [401, 401, 401, 200]
    assert wire.config.secret == new
    (warning,) = wire.log.of("warning")
    assert "HTTP 401" in warning
    assert len(wire.log.of("info")) == 1
    wire.send(LOOK)
    assert len(clock.pauses) == 3


def test_a_key_that_stays_wrong_is_an_error_after_its_budget(kumo_emulator, connect, clock):
    wire = connect(config(kumo_emulator.url, secret="acme:old"))
    with pytest.raises(KumoAuthenticationError, match="Put the current API key"):
        wire.send(LOOK)
    assert sum(clock.pauses) == pytest.approx(15 * 60, abs=5)


def test_the_configuration_is_read_again_only_when_the_key_is_refused(kumo_emulator, connect, clock):
    loads = []

    def load():
        loads.append(1)
        return config(kumo_emulator.url, secret=kumo_emulator.api_key)

    wire = connect(load)
    kumo_emulator.inject("html", count=3)
    wire.send(LOOK)
    assert len(loads) == 1
    kumo_emulator.inject("status", status=401, count=2)
    wire.send(LOOK)
    assert len(loads) == 3


# -- the event loop ------------------------------------------------------------------------------


def aclient(url: str, **changes) -> AsyncKumoClient:
    async def load() -> KumoConfig:
        return config(url, **changes)

    return AsyncKumoClient(load, log=getLogger(__name__))


async def test_clients_of_one_connection_share_a_session_which_ends_with_the_last(stub):
    server = stub()
    async with aclient(server.url) as first:
        async with aclient(server.url) as second, aclient(server.url, secret="another:key") as other:
            for client in (first, second, first, other):
                await client.send(LOOK)
        peers = [asked.peer for asked in server.asked]
        assert peers[0] == peers[1] == peers[2] != peers[3]
        server.hung_up.clear()
        await first.send(LOOK)
        assert server.asked[-1].peer == peers[0]
    assert await asyncio.to_thread(server.hung_up.wait, 5)
    async with aclient(server.url) as again:
        await again.send(LOOK)
    assert server.asked[-1].peer != peers[0]


def test_event_loops_do_not_share_sessions(stub):
    server = stub()

    async def look() -> None:
        async with aclient(server.url) as client:
            await client.send(LOOK)

    for _ in range(2):
        asyncio.run(look())
    assert len({asked.peer for asked in server.asked}) == 2


async def test_a_rotation_seen_by_one_client_leaves_the_other_working(kumo_emulator, clock):
    known = {"secret": kumo_emulator.api_key}

    async def load() -> KumoConfig:
        return config(kumo_emulator.url, **known)

    first = AsyncKumoClient(load, log=getLogger(__name__))
    second = AsyncKumoClient(load, log=getLogger(__name__))
    async with first, second:
        known["secret"] = kumo_emulator.rotate_key()
        assert await asyncio.gather(first.send(LOOK), second.send(LOOK)) == [3, 3]


async def test_many_triggers_ask_at_once(kumo_emulator):
    async def look() -> int:
        async with aclient(kumo_emulator.url, secret=kumo_emulator.api_key) as client:
            return await client.send(LOOK)

    assert await asyncio.gather(*(look() for _ in range(50))) == [3] * 50


@pytest.mark.parametrize(
    "fault", [{"kind": "latency", "seconds": 300}, {"kind": "status", "headers": {"Retry-After": "300"}}]
)
async def test_a_cancelled_trigger_stops_at_once(kumo_emulator, fault):
    kumo_emulator.inject(**fault)
    async with aclient(kumo_emulator.url, secret=kumo_emulator.api_key) as client:
        task = asyncio.create_task(client.send(LOOK))
        if fault["kind"] == "status":
            await asyncio.to_thread(kumo_emulator.wait_for, lambda: len(kumo_emulator.requests) == 1)
        else:
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)


async def test_a_client_outside_of_its_block_says_so():
    with pytest.raises(RuntimeError, match="async with"):
        await aclient("http://127.0.0.1:1/api").send(LOOK)
