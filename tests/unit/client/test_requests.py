from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kumoapi.jobs import BatchPredictionRequest, TrainingJobRequest
from kumoapi.json_serde import from_json

from airflow_provider_kumo import outputs
from airflow_provider_kumo.client.requests import (
    check_outputs,
    check_prediction_time,
    check_seconds,
    prediction_request,
    required_seconds,
    training_request,
)


def test_the_smallest_training_leaves_every_choice_to_kumo():
    body = training_request(pquery_id="churn_30d")
    assert body == {"pquery_id": "churn_30d", "job_tags": {}, "model_plan": {}}
    assert from_json(body, TrainingJobRequest).pquery_id == "churn_30d"


def test_a_whole_training_is_what_kumos_schema_takes():
    body = training_request(
        pquery_id="churn_30d",
        job_tags={"team": "growth"},
        model_plan={"training_job": {"num_experiments": 2}, "optimization": {"base_lr": [0.001, 0.01]}},
        warm_start_job_id="trainingjob-0",
        graph_snapshot_id="graph-1@2",
    )
    parsed = from_json(body, TrainingJobRequest)
    assert (parsed.warm_start_job_id, parsed.graph_snapshot_id) == ("trainingjob-0", "graph-1@2")
    assert parsed.job_tags == {"team": "growth"}
    assert parsed.model_plan.training_job.num_experiments == 2


def test_the_smallest_prediction_leaves_every_choice_to_kumo():
    body = prediction_request(training_job_id="trainingjob-1")
    assert body == {"model_training_job_id": "trainingjob-1", "job_tags": {}, "predict_options": {}, "outputs": []}
    assert from_json(body, BatchPredictionRequest).model_training_job_id == "trainingjob-1"


def test_a_whole_prediction_is_what_kumos_schema_takes():
    body = prediction_request(
        training_job_id="trainingjob-1",
        job_tags={"team": "growth"},
        outputs=[outputs.snowflake(connector_id="sf", table_name="churn"), outputs.local(artifact_type="EMBEDDINGS")],
        prediction_time="2026-11-20",
        binary_classification_threshold="0.3",
        num_classes_to_return=3,
        num_workers="4",
        explanations="True",
    )
    parsed = from_json(body, BatchPredictionRequest)
    assert parsed.prediction_time.isoformat() == "2026-11-20T00:00:00+00:00"
    assert parsed.predict_options.binary_classification_threshold == 0.3
    assert (parsed.predict_options.num_classes_to_return, parsed.predict_options.num_workers) == (3, 4)
    assert parsed.explanations is True
    assert [output.storage_type for output in parsed.outputs] == ["SNOWFLAKE", "LOCAL"]


ID = "an id or name without line breaks or outer spaces"
NOTHING = "an id or name; if it is a template, that has rendered nothing"
TRAINING = "the id of a training job; this is a batch prediction's"
OBJECT = object()


@pytest.mark.parametrize(
    ("argument", "value", "wants"),
    [
        *(("pquery_id", odd, ID) for odd in (None, " churn", "churn\n", "a\tb", 7, ["churn"])),
        *(("pquery_id", odd, NOTHING) for odd in ("", "None")),
        ("warm_start_job_id", 7, ID),
        ("warm_start_job_id", "", NOTHING),
        ("warm_start_job_id", "bp-job-1", TRAINING),
        ("graph_snapshot_id", " x", ID),
        ("graph_snapshot_id", "", NOTHING),
        *(("job_tags", odd, "a dict of text to text") for odd in ([], "a=b", 7)),
        *(
            ("model_plan", odd, "a dict of plain JSON values")
            for odd in ([], "x", 7, {"a": {1, 2}}, {"a": float("nan")})
        ),
        ("model_plan", {"a": {"b": [Decimal(1)]}}, "a dict of plain JSON values"),
        ("model_plan", {"a": {7: 1}}, "a dict of plain JSON values"),
    ],
)
def test_a_wrong_argument_of_a_training_is_named_with_what_it_got_and_wants(argument, value, wants):
    with pytest.raises(ValueError, match=f"^{argument}: got ") as caught:
        training_request(**{"pquery_id": "churn_30d", argument: value})
    assert wants in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value", "wants"),
    [
        *(("training_job_id", odd, ID) for odd in (None, 7)),
        ("training_job_id", "", NOTHING),
        ("training_job_id", "bp-job-1", TRAINING),
        *(("prediction_time", odd, "ISO-8601") for odd in ("", "soon", 7, "2026-13-01", True, [])),
        *(
            ("binary_classification_threshold", odd, "a number from 0 to 1")
            for odd in (-0.1, 1.1, "x", True, float("nan"), "inf", [])
        ),
        *(
            (name, odd, "a whole number above zero")
            for name in ("num_workers", "num_classes_to_return")
            for odd in (0, -1, 1.5, "x", True, "", float("inf"), {})
        ),
        *(("explanations", odd, "True or False") for odd in ("yes", 1, "", [])),
        *(("outputs", odd, "a list of outputs") for odd in ({"storage_type": "LOCAL"}, "LOCAL", 7, {1})),
    ],
)
def test_a_wrong_argument_of_a_prediction_is_named_with_what_it_got_and_wants(argument, value, wants):
    with pytest.raises(ValueError, match=f"^{argument}: got ") as caught:
        prediction_request(**{"training_job_id": "trainingjob-1", argument: value})
    assert repr(value) in str(caught.value)
    assert wants in str(caught.value)


def test_a_huge_value_does_not_flood_the_message():
    with pytest.raises(ValueError, match="pquery_id") as caught:
        training_request(pquery_id=["x" * 100_000])
    assert len(str(caught.value)) < 300


# -- tags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tags", [None, {}, {"team": "growth"}, {"a.b_c-D9": ""}, {"x" * 64: "y" * 256}, {"a": "é+&=%:/ "}]
)
def test_good_tags_are_sent_as_they_are(tags):
    assert training_request(pquery_id="q", job_tags=tags)["job_tags"] == (tags or {})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("", "x", "1 to 64"),
        ("a b", "x", "1 to 64"),
        ("é", "x", "1 to 64"),
        ("x" * 65, "x", "1 to 64"),
        (7, "x", "1 to 64"),
        ("team\n", "x", "1 to 64"),
        ("team", 7, "text of at most 256"),
        ("team", None, "text of at most 256"),
        ("team", "x" * 257, "text of at most 256"),
        ("team", "none", "remove this tag"),
        ("airflow_task_key", "x", "belong to this provider"),
        ("airflow_anything", "x", "belong to this provider"),
        *(
            (filter_, "x", "filter lists of jobs")
            for filter_ in ("pquery_name", "pquery_id", "job_status", "limit", "model_id", "group_id", "project_id")
        ),
    ],
)
def test_a_tag_that_kumo_or_this_provider_would_misread_is_refused(key, value, said):
    with pytest.raises(ValueError, match=r"^job_tags key ") as caught:
        training_request(pquery_id="q", job_tags={"fine": "x", key: value})
    assert said in str(caught.value)


# -- the anchor time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (datetime(2026, 11, 20, 6), "2026-11-20T06:00:00Z"),
        (datetime(2026, 11, 20, 6, tzinfo=UTC), "2026-11-20T06:00:00Z"),
        (datetime(2026, 11, 20, 6, tzinfo=timezone(timedelta(hours=2))), "2026-11-20T04:00:00Z"),
        (date(2026, 11, 20), "2026-11-20T00:00:00Z"),
        ("2026-11-20", "2026-11-20T00:00:00Z"),
        (" 2026-11-20T06:00:00 ", "2026-11-20T06:00:00Z"),
        ("2026-11-20 06:00:00", "2026-11-20T06:00:00Z"),
        ("2026-11-20T06:00:00Z", "2026-11-20T06:00:00Z"),
        ("2026-11-20T06:00:00+02:00", "2026-11-20T04:00:00Z"),
        ("2026-11-20T06:00:00.250000+00:00", "2026-11-20T06:00:00.250000Z"),
    ],
)
def test_the_anchor_time_is_sent_in_utc_however_it_is_given(value, sent):
    assert check_prediction_time(value) == sent


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
    ],
)
def test_an_anchor_time_at_the_edge_of_time_is_a_value_error(value):
    with pytest.raises(ValueError, match="prediction_time"):
        check_prediction_time(value)


@settings(deadline=None, max_examples=100)
@given(
    st.datetimes(timezones=st.none() | st.timezones(), min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1))
)
def test_any_anchor_time_keeps_its_instant(moment):
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    assert datetime.fromisoformat(check_prediction_time(moment)) == aware.astimezone(UTC)


# -- outputs -------------------------------------------------------------------------------------

TABLE = {"connector_id": "c", "table_name": "t", "artifact_type": "PREDICTIONS"}
FILE = {"file_path": "s3://b/x.parquet", "artifact_type": "PREDICTIONS"}


@pytest.mark.parametrize(
    ("given_mode", "sent"),
    [({}, "OVERWRITE"), ({"write_mode": "APPEND"}, "APPEND"), ({"write_mode": "OVERWRITE"}, "OVERWRITE")],
)
@pytest.mark.parametrize("storage_type", ["SNOWFLAKE", "BIGQUERY"])
def test_the_write_mode_is_always_sent_where_there_is_one(storage_type, given_mode, sent):
    (output,) = check_outputs([{"storage_type": storage_type, **TABLE, **given_mode}])
    assert output["write_mode"] == sent


@pytest.mark.parametrize(
    ("storage_type", "fields"),
    [("DATABRICKS", TABLE), ("S3", FILE), ("GCS", FILE), ("ADLS", FILE), ("LOCAL", {"artifact_type": "EMBEDDINGS"})],
)
def test_the_write_mode_is_never_sent_where_there_is_none(storage_type, fields):
    (output,) = check_outputs([{"storage_type": storage_type, **fields}])
    assert "write_mode" not in output
    with pytest.raises(ValueError, match=rf"^outputs\[0\]: {storage_type} takes no 'write_mode'"):
        check_outputs([{"storage_type": storage_type, **fields, "write_mode": "APPEND"}])


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("S3", "outputs[1]: got 'S3'; it must be a dict"),
        ({}, "outputs[1].storage_type: got None; it must be one of SNOWFLAKE"),
        ({"storage_type": "snowflake", **TABLE}, "outputs[1].storage_type: got 'snowflake'"),
        ({"storage_type": ["S3"], **FILE}, "outputs[1].storage_type: got ['S3']"),
        ({"storage_type": "LOCAL"}, "outputs[1].artifact_type: got None; it must be one of PREDICTIONS, EMBEDDINGS"),
        ({"storage_type": "S3", "artifact_type": "PREDICTIONS"}, "outputs[1].file_path: got None"),
        ({"storage_type": "S3", **FILE, "filepath": "x"}, "outputs[1]: S3 takes no 'filepath'; it takes storage_type"),
        ({"storage_type": "SNOWFLAKE", **TABLE, "table_name": ""}, "outputs[1].table_name: got ''"),
        ({"storage_type": "SNOWFLAKE", **TABLE, "connector_id": None}, "outputs[1].connector_id: got None"),
        ({"storage_type": "SNOWFLAKE", **TABLE, "write_mode": "append"}, "outputs[1].write_mode: got 'append'"),
        ({"storage_type": "SNOWFLAKE", **TABLE, "extra_fields": ["NOW"]}, "outputs[1].extra_fields: got 'NOW'"),
        ({"storage_type": "SNOWFLAKE", **TABLE, "extra_fields": "JOB_TIMESTAMP"}, "outputs[1].extra_fields: got "),
        ({"storage_type": "SNOWFLAKE", **TABLE, "extra_fields": 7}, "outputs[1].extra_fields: got 7"),
        ({"storage_type": "SNOWFLAKE", **TABLE, "staging_table_name": "x"}, "takes no 'staging_table_name'"),
        ({"storage_type": "BIGQUERY", **TABLE, "staging_table_name": ""}, "outputs[1].staging_table_name: got ''"),
    ],
)
def test_a_wrong_output_is_named_with_its_place(output, said):
    with pytest.raises(ValueError, match="outputs") as caught:
        check_outputs([outputs.local(), output])
    assert said in str(caught.value)


@pytest.mark.parametrize("make", [outputs.s3, outputs.gcs, outputs.adls])
def test_an_object_store_needs_a_connector_when_access_control_is_on(make):
    assert check_outputs([make(file_path="s3://b/x")])
    assert check_outputs([make(file_path="s3://b/x", connector_id="c")], connector_required=True)
    with pytest.raises(ValueError, match=r"^outputs\[0\]\.connector_id: .*access control"):
        check_outputs([make(file_path="s3://b/x")], connector_required=True)


def test_kumos_placeholder_for_part_files_is_kept():
    (output,) = check_outputs([outputs.s3(file_path="s3://b/part-{{PARTITION}}.parquet")])
    assert output["file_path"] == "s3://b/part-{{PARTITION}}.parquet"


# -- seconds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"), [(5, 5), (0.5, 0.5), ("30", 30), (timedelta(minutes=2), 120), (None, None)]
)
def test_seconds_may_be_a_number_or_a_timedelta(value, seconds):
    assert check_seconds("timeout", value) == seconds


@pytest.mark.parametrize("value", [0, -1, timedelta(0), timedelta(-1), "soon", True, float("inf"), "nan", [], 10**400])
def test_wrong_seconds_are_named(value):
    for check in (check_seconds, required_seconds):
        with pytest.raises(ValueError, match=r"^timeout: got .*seconds above zero"):
            check("timeout", value)


def test_required_seconds_may_not_be_none():
    with pytest.raises(ValueError, match=r"^timeout: got None"):
        required_seconds("timeout", None)
