from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import KumoConfigurationError, KumoRequestRefusedError
from airflow_provider_kumo.client.jobs import JobKind, UnreadableError

T, P = JobKind.TRAINING, JobKind.PREDICTION
TRAIN = {"pquery_id": "churn", "model_plan": {}, "job_tags": {}}
PREDICT = {"model_training_job_id": "trainingjob-1", "predict_options": {}, "outputs": [], "job_tags": {}}


@pytest.mark.parametrize(
    ("call", "method", "path", "query", "body"),
    [
        (calls.list_connectors(), "GET", "/v1/connectors", {}, None),
        (calls.get_config(), "GET", "/config", {}, None),
        (calls.list_predictive_queries(), "GET", "/v1/predictive_queries", {}, None),
        (
            calls.list_predictive_queries(name_pattern="churn*"),
            "GET",
            "/v1/predictive_queries",
            {"name_pattern": "churn*"},
            None,
        ),
        (calls.get_predictive_query("churn"), "GET", "/v1/predictive_queries/churn", {}, None),
        (calls.save_graph({"tables": {}}), "POST", "/v1/graphs", {"force_rename": "False"}, {"tables": {}}),
        (
            calls.create_graph_snapshot("graph-1"),
            "POST",
            "/v1/graphsnapshots",
            {"graph_id": "graph-1", "refresh_source": "True"},
            None,
        ),
        (calls.create_training_job(TRAIN), "POST", "/v1/training_jobs", {}, TRAIN),
        (calls.create_prediction_job(PREDICT), "POST", "/v1/prediction_jobs", {}, PREDICT),
        (calls.get_job(T, "trainingjob-1"), "GET", "/v1/training_jobs/trainingjob-1", {}, None),
        (calls.get_job(P, "bp-job-1"), "GET", "/v1/prediction_jobs/bp-job-1", {}, None),
        (calls.list_jobs(T), "GET", "/v1/training_jobs", {}, None),
        (
            calls.list_jobs(P, pquery_id="q", pquery_name="n", status="DONE", tags={"team": "growth"}, limit=0),
            "GET",
            "/v1/prediction_jobs",
            {"pquery_id": "q", "pquery_name": "n", "job_status": "DONE", "team": "growth", "limit": "0"},
            None,
        ),
        (calls.get_progress(T, "trainingjob-1"), "GET", "/v1/training_jobs/trainingjob-1/progress", {}, None),
        (calls.cancel_job(P, "bp-job-1"), "POST", "/v1/prediction_jobs/bp-job-1/cancel", {}, None),
        (
            calls.update_tags(T, "trainingjob-1", {"a": "1", "b": "none"}),
            "PATCH",
            "/v1/training_jobs/trainingjob-1/tags",
            {"a": "1", "b": "none"},
            None,
        ),
        (
            calls.get_prediction_urls("bp-job-1"),
            "GET",
            "/v1/prediction_jobs/bp-job-1/get_prediction_df_urls",
            {},
            None,
        ),
        (
            calls.get_embedding_urls("bp-job-1"),
            "GET",
            "/v1/prediction_jobs/bp-job-1/get_embedding_df_urls",
            {},
            None,
        ),
    ],
)
def test_a_call_asks_what_kumos_api_describes(call, method, path, query, body):
    assert (call.method, call.path, dict(call.query), call.json) == (method, path, query, body)


def test_only_what_starts_a_job_must_not_be_sent_twice():
    made = [
        calls.create_training_job(TRAIN),
        calls.create_prediction_job(PREDICT),
        calls.create_graph_snapshot("graph-1"),
        calls.cancel_job(T, "trainingjob-1"),
        calls.update_tags(T, "trainingjob-1", {"a": "1"}),
        calls.get_job(T, "trainingjob-1"),
    ]
    assert [call.safe_to_repeat for call in made] == [False, False, True, True, True, True]


def test_a_tag_cannot_replace_a_filter():
    call = calls.list_jobs(T, pquery_id="q", tags={"pquery_id": "another"})
    assert call.query == {"pquery_id": "q"}


WITH_AN_ID = [
    calls.get_predictive_query,
    lambda job_id: calls.get_job(T, job_id),
    lambda job_id: calls.get_progress(T, job_id),
    lambda job_id: calls.cancel_job(P, job_id),
    lambda job_id: calls.update_tags(P, job_id, {}),
    calls.get_prediction_urls,
    calls.get_embedding_urls,
]


@pytest.mark.parametrize("make", WITH_AN_ID)
@pytest.mark.parametrize(
    "name", ["../x", "a/b?c#d", "a b", "%2e%2e", "Ümläut-名前", "a;b&c=d", "\\..\\x", "x" * 10_000]
)
def test_an_id_stays_one_segment_of_the_path(make, name):
    plain, odd = make("id").path.split("/"), make(name).path.split("/")
    at = plain.index("id")
    assert unquote(odd[at]) == name
    assert odd[:at] + odd[at + 1 :] == plain[:at] + plain[at + 1 :]
    assert not set("?# ") & set(odd[at])


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text not in (".", "..")))
def test_any_text_survives_as_an_id(name):
    path = calls.get_job(T, name).path
    assert path.count("/") == 3
    assert unquote(path.rpartition("/")[2]) == name


@pytest.mark.parametrize("make", WITH_AN_ID)
@pytest.mark.parametrize("name", ["", ".", ".."])
def test_an_id_that_would_address_another_resource_is_refused(make, name):
    with pytest.raises(KumoConfigurationError, match="is no id"):
        make(name)


def test_a_long_id_does_not_flood_an_error():
    assert len(calls.get_job(T, "x" * 10_000).what) < 150


@pytest.mark.parametrize(
    ("call", "answer", "result"),
    [
        (calls.create_training_job(TRAIN), {"id": "trainingjob-1", "new_field": 1}, "trainingjob-1"),
        (calls.create_prediction_job(PREDICT), ["bp-job-1", {"errors": [], "warnings": []}], "bp-job-1"),
        (calls.create_prediction_job(PREDICT), ["bp-job-1", None, "a third item"], "bp-job-1"),
        (calls.cancel_job(T, "x"), {"is_cancelled": True}, True),
        (calls.cancel_job(T, "x"), {"is_cancelled": False}, False),
        (calls.cancel_job(T, "x"), {}, False),
        (calls.update_tags(T, "x", {}), {"resource_updated": True}, True),
        (calls.get_prediction_urls("x"), {"prediction_partitions": ["https://s3/1"]}, ["https://s3/1"]),
        (calls.get_embedding_urls("x"), {"embedding_partitions": ["https://s3/1"]}, ["https://s3/1"]),
        (calls.list_connectors(), [{}, {}], 2),
        (calls.get_config(), {"rbac": True}, {"rbac": True}),
    ],
)
def test_an_answer_is_read(call, answer, result):
    assert call.parse(answer) == result


@pytest.mark.parametrize("answer", [None, [], {}, "x", 1, {"id": None}, {"id": ""}, {"id": 5}, [""], [1, {}], [[], {}]])
@pytest.mark.parametrize("call", [calls.create_training_job(TRAIN), calls.create_prediction_job(PREDICT)])
def test_an_answer_without_an_id_never_passes_for_a_started_job(call, answer):
    with pytest.raises(UnreadableError):
        call.parse(answer)


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        (
            {"errors": [{"title": "Bad connector", "message": "No such connector."}, {"title": "Bad table"}]},
            "Bad connector. No such connector. Bad table.",
        ),
        ({"errors": []}, "it gave no reason"),
        (None, "it gave no reason"),
        ({"errors": [{"message": None}]}, "(no text)"),
    ],
)
def test_a_rejected_prediction_fails_with_kumos_own_messages(validation, said):
    with pytest.raises(KumoRequestRefusedError) as caught:
        calls.create_prediction_job(PREDICT).parse([None, validation])
    assert said in str(caught.value)
    assert caught.value.retryable is False


@pytest.mark.parametrize(
    "call",
    [calls.list_connectors(), calls.list_predictive_queries(), calls.list_jobs(T), calls.get_prediction_urls("x")],
)
@pytest.mark.parametrize("answer", [None, {}, "x", 1, {"prediction_partitions": None}])
def test_an_answer_that_is_no_list_is_unreadable(call, answer):
    with pytest.raises(UnreadableError):
        call.parse(answer)
