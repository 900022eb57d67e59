from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kumo.client.jobs import (
    Job,
    JobKind,
    Progress,
    UnreadableError,
    parse_datetime,
    parse_duration,
    parse_job,
    parse_predictive_query,
    parse_progress,
    show_duration,
    validation_messages,
)

T, P = JobKind.TRAINING, JobKind.PREDICTION
quickly = settings(deadline=None, max_examples=75)


def metric(name, value):
    return {"name": name, "value": value}


def training(**changes):
    """Build a TrainingJobResource as Kumo's schema serialises it."""
    return {
        "job_id": "trainingjob-1",
        "job_status_report": report(),
        "created_at": "2026-11-20T00:00:00Z",
        "tags": {"pquery_name": "churn_30d", "pquery_id": "pquery-churn", "team": "growth"},
        "project_id": "p1",
        "config": {"pquery_id": "pquery-churn", "job_tags": {}, "model_plan": {"training_job": {"metrics": "???"}}},
        "result": {
            "eval_metrics": {
                "test_metrics": [metric("auroc", 0.81), metric("auprc", None)],
                "validation_metrics": [metric("auroc", 0.83)],
                "training_metrics": [metric("auroc", 0.9)],
            },
            "total_elapsed_time": "PT1H42M7.25S",
            "automl_experiments_completed": 4,
        },
        **changes,
    }


def report(**changes):
    return {
        "status": "DONE",
        "tracking_url": "https://acme.kumoai.cloud/jobs/trainingjob-1",
        "start_time": "2026-11-20T00:00:45Z",
        "end_time": "2026-11-20T01:42:52.250000Z",
        "event_log": [
            {"stage_name": "Data Ingestion", "last_updated_at": "2026-11-20T00:00:45Z", "detail": "Ingesting 3 tables"},
            {"stage_name": "Training", "last_updated_at": "2026-11-20T01:00:00Z", "detail": None},
        ],
        "validation_response": None,
        **changes,
    }


def prediction(**changes):
    """Build a BatchPredictionJobResource as Kumo's schema serialises it."""
    return {
        "job_id": "bp-job-1",
        "job_status_report": report(),
        "created_at": "2026-11-20T00:00:00Z",
        "tags": {"pquery_id": "pquery-churn", "model_id": "trainingjob-1"},
        "config": {"model_training_job_id": "trainingjob-1", "predict_options": {}, "outputs": []},
        "result": {"num_entities_predicted": 1_250_000},
        **changes,
    }


def test_a_training_job_is_read():
    job = parse_job(training(), T)
    assert job.id == "trainingjob-1"
    assert job.status == "DONE"
    assert job.is_terminal
    assert job.pquery_id == "pquery-churn"
    assert job.created_at == datetime(2026, 11, 20, tzinfo=UTC)
    assert job.ended_at == datetime(2026, 11, 20, 1, 42, 52, 250000, tzinfo=UTC)
    assert (job.stage, job.stage_detail) == ("Training", None)
    assert job.tags["team"] == "growth"
    assert job.model_plan == {"training_job": {"metrics": "???"}}


def test_a_prediction_job_is_read():
    job = parse_job(prediction(), P)
    assert (job.id, job.kind, job.training_job_id) == ("bp-job-1", P, "trainingjob-1")
    assert (job.pquery_id, job.num_entities_predicted, job.metrics) == ("pquery-churn", 1_250_000, {})


def test_what_an_operator_returns_is_flat_clean_json():
    assert json.loads(json.dumps(parse_job(training(), T).result(), allow_nan=False)) == {
        "job_id": "trainingjob-1",
        "kind": "training",
        "status": "DONE",
        "tracking_url": "https://acme.kumoai.cloud/jobs/trainingjob-1",
        "pquery_id": "pquery-churn",
        "created_at": "2026-11-20T00:00:00+00:00",
        "started_at": "2026-11-20T00:00:45+00:00",
        "ended_at": "2026-11-20T01:42:52.250000+00:00",
        "metrics": {
            "test": {"auroc": 0.81, "auprc": None},
            "validation": {"auroc": 0.83},
            "training": {"auroc": 0.9},
        },
        "num_entities_predicted": None,
    }


def test_both_kinds_return_the_same_fields():
    empty = {"test": {}, "validation": {}, "training": {}}
    result = parse_job(prediction(), P).result()
    assert result.keys() == parse_job(training(), T).result().keys()
    assert (result["metrics"], result["num_entities_predicted"]) == (empty, 1_250_000)


@pytest.mark.parametrize(
    ("status", "terminal"),
    [
        ("DONE", True),
        ("FAILED", True),
        ("CANCELLED", True),
        *((name, False) for name in ("NOT_STARTED", "QUEUED", "RUNNING", "UNTRAINED", "MISSING", "PAUSED", "done")),
    ],
)
def test_only_three_statuses_are_an_end(status, terminal):
    job = parse_job(training(job_status_report=report(status=status)), T)
    assert (job.status, job.is_terminal) == (status, terminal)


def test_metrics_that_are_no_numbers_are_none_and_those_not_finite_are_named():
    body = json.loads(
        """{"job_id": "trainingjob-1", "job_status_report": {"status": "DONE"}, "result": {"eval_metrics": {
        "test_metrics": [{"name": "auroc", "value": NaN},
        {"name": "acc", "value": null}, {"name": "f1", "value": 1}],
        "validation_metrics": [{"name": "rmse", "value": Infinity}, {"name": "mae", "value": "0.1"}],
        "training_metrics": [{"name": "r2", "value": -Infinity}, {"value": 1},
        null, {"name": "ok", "value": true}]}}}"""
    )
    job = parse_job(body, T)
    assert job.metrics == {
        "test": {"auroc": None, "acc": None, "f1": 1.0},
        "validation": {"rmse": None, "mae": None},
        "training": {"r2": None, "ok": None},
    }
    assert job.nonfinite_metrics == ("test auroc", "validation rmse", "training r2")
    json.dumps(job.result(), allow_nan=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"result": None},
        {"result": {"eval_metrics": None}},
        {"result": {"eval_metrics": {"test_metrics": None}}},
        {"result": "odd"},
        {"tags": None},
        {"tags": ["odd"]},
        {"config": None},
        {"created_at": None},
        {"created_at": 1763596800},
        {"new_field": {"of": "a later Kumo"}},
        {"job_status_report": {"status": "DONE"}},
        {"job_status_report": report(event_log=[])},
        {"job_status_report": report(event_log=None)},
        {"job_status_report": report(event_log=[None, "odd", {}])},
        {"job_status_report": report(validation_response={"errors": None, "warnings": [7]})},
        {"job_status_report": report(start_time="soon", end_time=None, tracking_url=None, new="x")},
    ],
)
def test_what_is_missing_or_odd_does_not_fail_a_job(changes):
    job = parse_job(training(**changes), T)
    assert (job.id, job.status) == ("trainingjob-1", "DONE")
    json.dumps(job.to_event(), allow_nan=False)


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (training(job_id=None), "job_id"),
        (training(job_id=""), "job_id"),
        (training(job_id=7), "job_id"),
        (training(job_status_report=None), "status"),
        (training(job_status_report=report(status=None)), "status"),
        (None, "expected a job, got NoneType"),
        ([], "expected a job, got list"),
        ("x", "expected a job, got str"),
    ],
)
def test_without_id_and_status_there_is_no_job(body, missing):
    with pytest.raises(UnreadableError, match=missing):
        parse_job(body, T)


def test_the_query_is_found_in_the_tags_when_the_config_names_none():
    assert parse_job(training(config={}), T).pquery_id == "pquery-churn"


def test_an_absurdly_long_text_is_cut():
    job = parse_job(training(job_status_report=report(event_log=[{"stage_name": "x" * 1_000_000}])), T)
    assert len(job.stage) <= 2000


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"title": "Empty table", "message": "No rows."}, "Empty table. No rows."),
        ({"title": "Empty table.", "message": "No rows"}, "Empty table. No rows."),
        ({"title": None, "message": "No rows"}, "No rows."),
        ({"title": "Empty table"}, "Empty table."),
        ({"title": 7}, "(no text)"),
    ],
)
def test_validation_errors_read_as_sentences(item, sentence):
    body = training(job_status_report=report(validation_response={"errors": [item], "warnings": [item, item]}))
    job = parse_job(body, T)
    assert job.errors == (sentence,)
    assert job.warnings == (sentence, sentence)


@pytest.mark.parametrize("validation", [None, [], "x", {"errors": "x"}, {"errors": [None, "x", 3]}])
def test_a_validation_that_says_nothing_readable_says_nothing(validation):
    assert validation_messages(validation, "errors") == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://10.0.0.5:9000/jobs/x?tab=1#top", "https://kumo.example.com:8443/jobs/x?tab=1#top"),
        ("http://internal/jobs/x", "https://kumo.example.com:8443/jobs/x"),
        ("https://user:pass@evil.example/jobs/x", "https://kumo.example.com:8443/jobs/x"),
        ("https://internal", "https://kumo.example.com:8443"),
        ("javascript:alert(1)", None),
        ("JaVaScRiPt:alert(1)", None),
        ("data:text/html,x", None),
        ("ftp://internal/jobs/x", None),
        ("/jobs/x", None),
        ("//internal/jobs/x", None),
        ("https:jobs/x", None),
        ("http://[::1", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_the_link_leads_to_the_configured_host_or_nowhere(url, shown):
    job = parse_job(training(job_status_report=report(tracking_url=url)), T)
    assert job.with_origin("https://kumo.example.com:8443/api").tracking_url == shown


def test_the_kind_is_told_by_the_id_or_by_name():
    assert (JobKind.of("trainingjob-1"), JobKind.of("bp-job-1")) == (T, P)
    assert (JobKind.named("bp-job-1", None), JobKind.named("odd", "training")) == (P, T)


@pytest.mark.parametrize(
    ("job_id", "job_kind", "said"),
    [
        ("odd", None, "job_kind='training' or job_kind='prediction'"),
        ("", None, "job_id: got ''"),
        (None, "training", "job_id: got None"),
        (7, None, "job_id: got 7"),
        ("bp-job-1", "baseline", "job_kind: got 'baseline'; it must be one of training, prediction"),
    ],
)
def test_a_kind_that_cannot_be_told_is_named(job_id, job_kind, said):
    with pytest.raises(ValueError, match="job_") as caught:
        JobKind.named(job_id, job_kind)
    assert said in str(caught.value)


def test_age_counts_from_creation_and_is_never_negative():
    job = parse_job(training(), T)
    born = job.created_at.timestamp()
    assert [job.age(now=born + 60), job.age(now=born - 60)] == [60, 0]
    assert parse_job(training(created_at=None), T).age(now=born) == 0


# -- the way through an event --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (training(), T),
        (prediction(), P),
        (training(result=None, created_at=None, job_status_report={"status": "QUEUED"}), T),
        (
            training(
                job_status_report=report(
                    status="FAILED", validation_response={"errors": [{"title": "A"}], "warnings": [{"message": "b"}]}
                )
            ),
            T,
        ),
        (training(result={"eval_metrics": {"test_metrics": [metric("auroc", math.nan)]}}), T),
    ],
)
def test_a_job_comes_out_of_a_trigger_as_it_went_in(body, kind):
    job = parse_job(body, kind)
    back = Job.from_event(json.loads(json.dumps(job.to_event(), allow_nan=False)))
    assert back.result() == job.result()
    assert back.to_event() == job.to_event()
    assert (back.errors, back.warnings, back.nonfinite_metrics) == (job.errors, job.warnings, job.nonfinite_metrics)


def test_an_event_of_an_older_version_is_read():
    job = Job.from_event({"job_id": "bp-job-1", "kind": "prediction", "status": "DONE", "unknown": 1})
    assert (job.id, job.kind, job.is_terminal, job.errors) == ("bp-job-1", P, True, ())


@pytest.mark.parametrize(
    "payload",
    [{}, {"job_id": "x"}, {"job_id": "x", "kind": "training"}, {"job_id": "x", "kind": "baseline", "status": "DONE"}],
)
def test_an_event_without_a_job_is_unreadable(payload):
    with pytest.raises(UnreadableError):
        Job.from_event(payload)


# -- durations and times -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("PT1H42M7.25S", 6127.25),
        ("PT0S", 0),
        ("P1DT1S", 86401),
        ("P2W", 1209600),
        ("PT90M", 5400),
        ("-PT5S", -5),
        ("+PT5S", 5),
        ("P1.5D", 129600),
        (12, 12),
        (12.5, 12.5),
        (0, 0),
        *((garbage, None) for garbage in ("P", "PT", "", "1h", "PT1X", "P1Y", "PT-5S", "PT1H ", "pt5s", "5", "PTS")),
        (None, None),
        (True, None),
        ([], None),
        ({}, None),
        (math.nan, None),
        (math.inf, None),
        (10**400, None),
        ("P999999999999D", None),
        ("PT" + "9" * 90 + "S", None),
        ("PT" + "9" * 200 + "S", None),
    ],
)
def test_a_duration_is_read_in_both_of_kumos_forms(value, seconds):
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-20T00:00:00Z", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T00:00:00", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T02:00:00+02:00", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T00:00:00.5+00:00", datetime(2026, 11, 20, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        *((garbage, None) for garbage in ("", "soon", "2026-13-01", "0001-01-01T00:00:00+14:00", 7, None, [], True)),
    ],
)
def test_a_time_is_read_as_utc(value, moment):
    found = parse_datetime(value)
    assert found == moment
    assert found is None or found.tzinfo is UTC


@given(
    st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]), min_value=datetime(2, 1, 1)
    )
)
@quickly
def test_any_time_survives_iso(moment):
    assert parse_datetime(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (45.4, "45 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 0 min"), (12000, "3 h 20 min")],
)
def test_a_duration_is_shown_the_way_a_person_says_it(seconds, shown):
    assert show_duration(seconds) == shown


# -- progress ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "percent", "left", "said"),
    [
        (T, None, None, None, ""),
        (T, {}, None, None, ""),
        (T, {"total_trials": 0, "completed_trials": 0}, None, None, ""),
        (T, {"total_trials": 4, "completed_trials": 0}, 0, None, "0 %, 0 of 4 trials"),
        (T, {"total_trials": 4, "completed_trials": 1}, 25, None, "25 %, 1 of 4 trials"),
        (
            T,
            {"total_trials": 4, "completed_trials": 1, "elapsed_training_time": 600, "estimated_training_time": 1200.0},
            50,
            600,
            "50 %, 1 of 4 trials, about 10 min left",
        ),
        (
            T,
            {"total_trials": 4, "completed_trials": 3, "elapsed_training_time": 9000, "estimated_training_time": 1200},
            99,
            0,
            "99 %, 3 of 4 trials, about 0 s left",
        ),
        (
            T,
            {"total_trials": 4, "completed_trials": 4, "elapsed_training_time": 1, "estimated_training_time": 1200},
            100,
            1199,
            "100 %, 4 of 4 trials, about 20 min left",
        ),
        (T, {"total_trials": -3, "completed_trials": "x", "estimated_training_time": math.nan}, None, None, ""),
        (T, {"estimated_training_time": 0, "elapsed_training_time": 5}, None, 0, ""),
        (P, None, None, None, ""),
        (P, {"total_iterations": 0, "completed_iterations": 0}, None, None, ""),
        (
            P,
            {
                "total_iterations": 800,
                "completed_iterations": 200,
                "elapsed_prediction_time": "PT5M",
                "estimated_prediction_time": "PT20M",
            },
            25,
            900,
            "25 %, 200 of 800 iterations, about 15 min left",
        ),
        (P, {"total_iterations": 3, "completed_iterations": 7}, 100, None, "100 %, 7 of 3 iterations"),
    ],
)
def test_progress_says_how_far_a_job_has_come(kind, body, percent, left, said):
    progress = parse_progress(body, kind)
    assert (progress.percent, progress.seconds_left, progress.describe()) == (percent, left, said)


def test_progress_tells_the_newest_epoch_of_the_newest_trial():
    def trial(*numbers):
        return {"metrics": {str(n): {"validation_metrics": {"auroc": n / 100, "odd": math.nan}} for n in numbers}}

    body = {"total_trials": 11, "completed_trials": 10, "trial_progress": {"9": trial(1), "10": trial(2, 10), "11": {}}}
    assert parse_progress(body, T).describe() == "90 %, 10 of 11 trials, epoch 10, auroc 0.1"


@pytest.mark.parametrize("elapsed", [-5.0, 0.0, 5.0])
def test_percent_stays_between_0_and_100(elapsed):
    progress = parse_progress({"total_trials": 2, "elapsed_training_time": elapsed, "estimated_training_time": 3}, T)
    assert 0 <= progress.percent <= 99


def test_a_predictive_query_is_read_tolerantly():
    query = parse_predictive_query({"name": None, "query_string": 7, "graph": None, "desc": "x"})
    assert (query.name, query.query_string, query.graph) == (None, "", {})
    with pytest.raises(UnreadableError):
        parse_predictive_query([])


# -- whatever comes ------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        "job_id",
        "job_status_report",
        "status",
        "tracking_url",
        "config",
        "pquery_id",
        "result",
        "eval_metrics",
        "test_metrics",
        "name",
        "value",
        "event_log",
        "stage_name",
        "detail",
        "tags",
        "model_plan",
        "created_at",
        "validation_response",
        "errors",
        "title",
        "message",
        "total_trials",
        "completed_trials",
        "elapsed_training_time",
        "estimated_training_time",
        "trial_progress",
        "metrics",
        "validation_metrics",
        "total_iterations",
        "completed_iterations",
        "estimated_prediction_time",
        "num_entities_predicted",
        "1",
        "2",
        "",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("PT5S")
ANY_JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)
NEARLY_A_JOB = st.builds(
    lambda body, report: {**body, "job_id": "j", "job_status_report": {**report, "status": "DONE"}},
    st.dictionaries(KEYS, ANY_JSON, max_size=6),
    st.dictionaries(KEYS, ANY_JSON, max_size=6),
)


@quickly
@given(ANY_JSON | NEARLY_A_JOB, st.sampled_from(JobKind))
def test_no_json_breaks_the_reading_of_a_job(body, kind):
    try:
        job = parse_job(body, kind)
    except UnreadableError:
        return
    event = json.loads(json.dumps(job.with_origin("https://kumo.example.com/api").to_event(), allow_nan=False))
    assert Job.from_event(event).id == job.id


@quickly
@given(ANY_JSON, st.sampled_from(JobKind))
def test_no_json_breaks_the_reading_of_progress(body, kind):
    progress = parse_progress(body, kind)
    assert isinstance(progress.describe(), str)
    assert progress.percent is None or 0 <= progress.percent <= 100


@quickly
@given(st.dictionaries(KEYS, ANY_JSON, max_size=8), st.sampled_from(JobKind))
def test_no_object_breaks_the_reading_of_progress(body, kind):
    progress = parse_progress(body, kind)
    assert isinstance(progress, Progress)
    assert progress.percent is None or 0 <= progress.percent <= 100


@quickly
@given(ANY_JSON | st.from_regex(r"[+-]?P[0-9WDT.HMS]{0,40}", fullmatch=True))
def test_no_value_breaks_the_reading_of_durations_and_times(value):
    seconds = parse_duration(value)
    assert seconds is None or math.isfinite(seconds)
    assert parse_datetime(value) is None or isinstance(value, str)
