from __future__ import annotations

import json

import pytest
from kumoapi.jobs import (
    AutoTrainerProgress,
    BatchPredictionJobResource,
    PredictionProgress,
    TrainingJobResource,
)
from kumoapi.json_serde import from_json, to_json_dict

from airflow_provider_kumo.emulator import lifecycle
from airflow_provider_kumo.emulator.store import Settings

OUTPUT = {"artifact_type": "PREDICTIONS", "storage_type": "S3", "file_path": "s3://b/p"}


# -- authentication ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/config", "/api/v1/connectors", "/api/v1/training_jobs", "/api/v1/none"])
async def test_nothing_is_answered_without_the_key(api, path) -> None:
    for headers in ({}, {"X-API-Key": "other"}, {"X-API-Key": "é"}, {"Authorization": "Bearer local:kumo"}):
        assert await api("GET", path, headers=headers) == (401, {"detail": "Invalid API key"})


@pytest.mark.parametrize("value", ['Snowflake Token="local:kumo"', "Snowflake Token=local:kumo"])
async def test_a_snowflake_token_is_a_key(api, value) -> None:
    status, _ = await api("GET", "connectors", headers={"Authorization": value})
    assert status == 200


# -- jobs ------------------------------------------------------------------------------------------


async def test_a_training_job_from_its_start_to_its_result(api, store, clock) -> None:
    job = await api.train(job_tags={"team": "growth"})
    _, body = await api("GET", f"training_jobs/{job}")
    assert body["job_status_report"]["status"] == "NOT_STARTED"
    assert body["result"] is None
    assert body["tags"] == {"team": "growth", "pquery_name": "churn_30d", "pquery_id": "pquery-churn-30d"}
    assert body["config"]["pquery_id"] == "churn_30d"
    clock.now = lifecycle.end_at(store.jobs[job])
    _, body = await api("GET", f"training_jobs/{job}")
    assert body["job_status_report"]["status"] == "DONE"
    assert body["job_status_report"]["end_time"].endswith("Z")
    assert {metric["name"] for metric in body["result"]["eval_metrics"]["test_metrics"]} >= {"auroc", "auprc"}
    assert body["result"]["automl_experiments_completed"] == 4


async def test_every_body_is_what_the_schema_makes_of_it(api, store, clock) -> None:
    training = await api.train()
    prediction, _ = await api.predict(outputs=[OUTPUT], prediction_time="2026-11-20T00:00:00Z")
    for _ in range(60):
        clock.tick(4)
        for path, schema in (
            (f"training_jobs/{training}", TrainingJobResource),
            (f"training_jobs/{training}/progress", AutoTrainerProgress),
            (f"prediction_jobs/{prediction}", BatchPredictionJobResource),
            (f"prediction_jobs/{prediction}/progress", PredictionProgress),
        ):
            status, body = await api("GET", path)
            assert status == 200
            assert to_json_dict(from_json(body, schema)) == body
    assert await api.status(training) == await api.status(prediction) == "DONE"


@pytest.mark.parametrize(("query", "metric"), [("churn_30d", "auroc"), ("ltv_90d", "mae"), ("next_purchase", "map@10")])
async def test_seeded_models_are_ready_and_scored_by_task(api, query, metric) -> None:
    _, [job] = await api("GET", "training_jobs", pquery_name=query, job_status="DONE")
    assert job["result"]["eval_metrics"]["test_metrics"][0]["name"] == metric
    assert (await api.predict(job["job_id"]))[0] is not None


async def test_a_number_of_experiments_is_honoured(api, store, clock) -> None:
    job = await api.train(model_plan={"training_job": {"num_experiments": 2}})
    clock.now = lifecycle.end_at(store.jobs[job])
    _, progress = await api("GET", f"training_jobs/{job}/progress")
    assert (progress["total_trials"], progress["completed_trials"]) == (2, 2)


async def test_a_job_waits_for_its_snapshot(api, store, clock) -> None:
    _, query = await api("GET", "predictive_queries/churn_30d")
    _, graph = await api("POST", "graphs", json=query["graph"])
    _, snapshot = await api("POST", "graphsnapshots", graph_id=graph["id"], refresh_source="True")
    _, body = await api("GET", f"graphsnapshots/{snapshot['id']}")
    assert body["stages"]["INGEST"]["status"] == "RUNNING"
    job = await api.train(graph_snapshot_id=snapshot["id"])
    clock.tick(4.9)
    assert await api.status(job) == "NOT_STARTED"
    clock.tick(0.2)
    _, body = await api("GET", f"graphsnapshots/{snapshot['id']}")
    assert body["stages"]["INGEST"]["status"] == "DONE"
    assert await api.status(job) == "QUEUED"


async def test_a_snapshot_is_taken_again_only_when_asked(api) -> None:
    _, query = await api("GET", "predictive_queries/churn_30d")
    _, graph = await api("POST", "graphs", json=query["graph"])
    ids = []
    for refresh in ("False", "False", "True"):
        _, body = await api("POST", "graphsnapshots", graph_id=graph["id"], refresh_source=refresh)
        ids.append(body["id"])
    assert ids[0] == ids[1] != ids[2]
    assert all(one.startswith(graph["id"] + "@") for one in ids)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ({}, ["body", "job_tags"], "missing"),
        ({"job_tags": {}}, ["body", "pquery_id"], "missing"),
        ({"job_tags": None, "pquery_id": "churn_30d"}, ["body", "job_tags"], "dict_type"),
        ({"job_tags": {"a": 1}, "pquery_id": "churn_30d"}, ["body", "job_tags", "a"], "string_type"),
        ({"job_tags": {}, "pquery_id": "churn_30d", "model_plan": None}, ["body", "model_plan"], None),
        ({"job_tags": {"a b": "x"}, "pquery_id": "churn_30d"}, ["body", "job_tags", "a b"], "value_error"),
        ({"job_tags": {"a" * 65: "x"}, "pquery_id": "churn_30d"}, None, "value_error"),
        ({"job_tags": {"a": "x" * 257}, "pquery_id": "churn_30d"}, None, "string_too_long"),
    ],
)
async def test_what_the_schema_refuses_is_a_422(api, body, loc, kind) -> None:
    status, answer = await api("POST", "training_jobs", json=body)
    assert status == 422
    first = answer["detail"][0]
    assert set(first) == {"loc", "msg", "type"}
    assert loc is None or first["loc"][: len(loc)] == loc
    assert kind is None or first["type"] == kind


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"1" * 9000, b"[" * 100_000, b'{"a":' * 150 + b"1" + b"}" * 150],
)
async def test_bytes_that_are_no_request_are_a_422(api, data) -> None:
    for path in ("training_jobs", "prediction_jobs", "graphs", "predictive_queries"):
        status, answer = await api("POST", path, data=data)
        assert status == 422, path
        assert isinstance(answer["detail"], list)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"pquery_id": "nope"}, "Predictive query nope does not exist."),
        ({"warm_start_job_id": "trainingjob-0"}, "Training job trainingjob-0 does not exist."),
        ({"graph_snapshot_id": "graph-0@1"}, "Graph snapshot graph-0@1 does not exist."),
        ({"train_table_job_id": "t-0"}, "Table generation job t-0 does not exist."),
    ],
)
async def test_a_training_on_something_unknown_is_a_422(api, fields, detail) -> None:
    body = {"job_tags": {}, "pquery_id": "churn_30d"} | fields
    assert await api("POST", "training_jobs", json=body) == (422, {"detail": detail})


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"model_training_job_id": "trainingjob-0"}, "Model does not exist"),
        ({"prediction_time": "2199-01-01"}, "Prediction time is in the future"),
        ({"outputs": [OUTPUT | {"connector_id": "none"}]}, "Connector does not exist"),
        ({"graph_snapshot_id": "graph-0@1"}, "Graph snapshot does not exist"),
        ({"pred_table_job_id": "t-0"}, "Prediction table does not exist"),
    ],
)
async def test_a_prediction_is_rejected_with_a_200(api, fields, title) -> None:
    job, answer = await api.predict(**fields)
    assert job is None
    assert [error["title"] for error in answer["errors"]] == [title]


async def test_a_model_in_training_cannot_predict(api) -> None:
    job, answer = await api.predict(await api.train())
    assert job is None
    assert answer["errors"][0]["message"].endswith("has status NOT_STARTED.")


async def test_a_prediction_needs_its_three_fields(api) -> None:
    status, answer = await api("POST", "prediction_jobs", json={"job_tags": {}, "model_training_job_id": "x"})
    assert status == 422
    assert answer["detail"][0]["loc"] == ["body", "predict_options"]


async def test_a_missing_threshold_is_a_warning(api) -> None:
    _, answer = await api.predict()
    assert answer["warnings"][0]["title"] == "No threshold"
    _, answer = await api.predict(predict_options={"binary_classification_threshold": 0.4})
    assert answer["warnings"] == []


@pytest.mark.parametrize(
    "path",
    ["training_jobs/x", "prediction_jobs/x", "training_jobs/x/progress", "predictive_queries/x", "graphs/x",
     "graphsnapshots/x", "nothing", "training_jobs/" + "x" * 5000, "training_jobs/%00%ff"],
)  # fmt: skip
async def test_what_is_not_there_is_a_404(api, path) -> None:
    status, body = await api("GET", path)
    assert status == 404
    assert isinstance(body["detail"], str)
    assert len(body["detail"]) < 300


async def test_kinds_are_not_mixed_up(api) -> None:
    assert (await api("GET", f"prediction_jobs/{api.model()}"))[0] == 404


async def test_a_graph_must_know_the_tables_it_links(api) -> None:
    _, query = await api("GET", "predictive_queries/churn_30d")
    del query["graph"]["tables"]["items"]
    status, body = await api("POST", "graphs", json=query["graph"])
    assert status == 422
    assert "items" in body["detail"]
    assert (await api("POST", "graphsnapshots", graph_id="graph-0"))[0] == 404


# -- cancel and quotas -------------------------------------------------------------------------------


async def test_cancelling_takes_a_moment(api, clock) -> None:
    job = await api.train()
    clock.tick(2)
    assert await api("POST", f"training_jobs/{job}/cancel") == (200, {"is_cancelled": True})
    assert await api.status(job) == "RUNNING"
    clock.tick(30 / 60)
    assert await api.status(job) == "CANCELLED"
    assert await api("POST", f"training_jobs/{job}/cancel") == (200, {"is_cancelled": False})
    assert (await api("POST", "training_jobs/none/cancel"))[0] == 404
    assert (await api("GET", f"training_jobs/{job}"))[1]["job_status_report"]["end_time"]


async def test_ten_run_fifteen_wait_and_one_more_is_refused(api, store, clock) -> None:
    jobs = [await api.train() for _ in range(25)]
    async with api.client.post(
        "/api/v1/training_jobs",
        json={"job_tags": {}, "pquery_id": "churn_30d"},
        headers={"X-API-Key": store.key},
    ) as response:
        assert response.status == 429
        assert int(response.headers["Retry-After"]) > 0
        assert (await response.json())["detail"].startswith("Too many queued jobs.")
    clock.tick(60)
    assert [await api.status(job) for job in jobs] == ["RUNNING"] * 10 + ["QUEUED"] * 15
    first = min(jobs[:10], key=lambda job: lifecycle.end_at(store.jobs[job]))
    freed = lifecycle.end_at(store.jobs[first])
    # Nobody looks for a while: the next one in line has run since the slot became free.
    clock.now = freed + 0.5
    _, body = await api("GET", f"training_jobs/{jobs[10]}")
    assert body["job_status_report"]["status"] == "RUNNING"
    assert store.jobs[jobs[10]].started_at == freed
    assert await api.status(jobs[11]) == "QUEUED"
    await api.train()


async def test_a_queued_job_that_is_cancelled_makes_room(api, clock) -> None:
    jobs = [await api.train() for _ in range(25)]
    await api("POST", f"training_jobs/{jobs[12]}/cancel")
    clock.tick(5)
    assert await api.status(jobs[12]) == "CANCELLED"
    await api.train()


# -- tags and lists --------------------------------------------------------------------------------


async def test_tags_are_patched_in_the_query(api) -> None:
    job = await api.train(job_tags={"a": "1"})
    path = f"training_jobs/{job}/tags"
    assert await api("PATCH", path, b="x y+z:é", a="none") == (200, {"resource_updated": True})
    assert await api("PATCH", path, b="x y+z:é", c="none") == (200, {"resource_updated": False})
    _, [found] = await api("GET", "training_jobs", b="x y+z:é")
    assert found["job_id"] == job
    assert "a" not in found["tags"]
    assert found["config"]["job_tags"] == {"a": "1"}
    assert (await api("PATCH", path, b="x" * 257))[0] == 422
    assert (await api("PATCH", path, pquery_name="other"))[0] == 422


async def test_lists_are_filtered_by_tags_status_and_model(api, clock) -> None:
    await api.train("ltv_90d", job_tags={"run": "1"})
    model = api.model()
    prediction, _ = await api.predict(job_tags={"run": "1"})

    async def ids(path: str, **params: str) -> list[str]:
        _, body = await api("GET", path, **params)
        return [job["job_id"] for job in body]

    assert len(await ids("training_jobs")) == 4
    assert len(await ids("training_jobs", pquery_name="ltv_90d")) == 2
    assert len(await ids("training_jobs", pquery_id="pquery-ltv-90d")) == 2
    assert len(await ids("training_jobs", pquery_name="ltv_90d", job_status="DONE")) == 1
    assert len(await ids("training_jobs", run="1")) == 1
    assert await ids("training_jobs", run="2") == []
    assert await ids("prediction_jobs", model_id=model) == [prediction]
    assert await ids("prediction_jobs", model_id="other") == []
    assert await ids("training_jobs", limit="0") == []


@pytest.mark.parametrize("params", [{"limit": "x"}, {"limit": "-1"}, {"job_status": "BUSY"}, {"limit": "9" * 30}])
async def test_a_filter_that_makes_no_sense_is_a_422(api, params) -> None:
    status, body = await api("GET", "training_jobs", **params)
    assert status == 422
    assert body["detail"][0]["loc"] == ["query", next(iter(params))]


async def test_lists_can_be_ordered_and_capped(api, control) -> None:
    old = control.add_past_jobs("churn_30d", 6, days=10)

    async def ids(**params: str) -> list[str]:
        _, body = await api("GET", "training_jobs", pquery_name="churn_30d", **params)
        return [job["job_id"] for job in body]

    newest = await ids()
    assert newest[0] == old[-1]
    assert await ids(limit="2") == newest[:2]
    control.set_list(order="oldest")
    assert await ids() == newest[::-1]
    control.set_list(order="unordered", cap=4)
    assert len(await ids(limit="5")) == 4
    control.set_list(order="unordered")
    assert sorted(await ids()) == sorted(newest)
    assert await ids() not in (newest, newest[::-1])


async def test_five_thousand_past_jobs(api, control, clock) -> None:
    jobs = control.add_past_jobs("ltv_90d", 5000, days=365)
    assert len(set(jobs)) == 5000
    _, body = await api("GET", "training_jobs", pquery_name="ltv_90d", job_status="DONE", limit="3")
    assert [job["job_id"] for job in body] == jobs[:-4:-1]


# -- files -----------------------------------------------------------------------------------------


async def test_files_of_a_done_job_are_behind_signed_urls(api, store, clock) -> None:
    job, _ = await api.predict(predict_options={"num_workers": 2})
    path = f"prediction_jobs/{job}/get_prediction_df_urls"
    assert (await api("GET", path))[0] == 409
    clock.now = lifecycle.end_at(store.jobs[job])
    _, body = await api("GET", path)
    assert len(body["prediction_partitions"]) == 2
    url = body["prediction_partitions"][0].removeprefix(store.origin)
    assert "X-Amz-Signature=" in url
    status, rows = await api("GET", url, headers={})
    assert (status, rows.splitlines()[0]) == (200, "ENTITY,TARGET_PRED")
    assert (await api("GET", url[:-4] + "0000", headers={}))[0] == 403
    assert (await api("GET", url.replace("predictions-0", "predictions-1"), headers={}))[0] == 403
    clock.tick(3601)
    assert (await api("GET", url, headers={}))[0] == 403
    _, body = await api("GET", f"prediction_jobs/{job}/get_embedding_df_urls")
    assert list(body) == ["embedding_partitions"]
    status, url = await api("GET", f"training_jobs/{api.model()}/holdout", presigned="True")
    assert (status, url.startswith("http")) == (200, True)
    assert await api("GET", f"training_jobs/{api.model()}/encoders") == (200, None)


# -- queries ---------------------------------------------------------------------------------------


async def test_a_query_is_saved_found_and_deleted(api) -> None:
    _, query = await api("GET", "predictive_queries/pquery-churn-30d")
    resource = query | {"name": "spend_7d", "query_string": "PREDICT SUM(orders.price, 0, 7) FOR EACH users.user_id"}
    assert await api("POST", "predictive_queries", json=resource) == (200, {"id": "pquery-spend-7d"})
    assert await api("GET", "predictive_queries/spend_7d") == (200, resource)
    _, found = await api("GET", "predictive_queries", name_pattern="spend")
    assert found == [resource]
    await api.train("spend_7d")
    assert (await api("DELETE", "predictive_queries/spend_7d"))[0] == 200
    assert (await api("GET", "predictive_queries/spend_7d"))[0] == 404


async def test_a_query_that_predicts_nothing_is_invalid(api) -> None:
    _, query = await api("GET", "predictive_queries/churn_30d")
    bad = query | {"query_string": "SELECT 1"}
    _, answer = await api("POST", "predictive_queries/validate", json=bad)
    assert answer["errors"][0]["title"] == "Invalid query"
    assert (await api("POST", "predictive_queries", json=bad))[0] == 422
    assert (await api("POST", "predictive_queries/validate", json=query))[1]["errors"] == []


async def test_the_same_graph_has_the_same_id(api) -> None:
    _, query = await api("GET", "predictive_queries/churn_30d")
    shuffled = json.loads(json.dumps(query["graph"], sort_keys=True))
    _, first = await api("POST", "graphs", json=query["graph"])
    _, second = await api("POST", "graphs", json=shuffled)
    assert first == second
    status, body = await api("GET", f"graphs/{first['id']}")
    assert (status, body["graph"]) == (200, query["graph"])


async def test_a_training_table_job(api, store, clock) -> None:
    body = {"job_tags": {}, "pquery_id": "churn_30d", "plan": {}, "graph_snapshot_id": None}
    _, answer = await api("POST", "gentraintable_jobs", json=body)
    job = answer["id"]
    training = await api.train(train_table_job_id=job)
    _, progress = await api("GET", f"gentraintable_jobs/{job}/progress")
    assert progress == {"percent": 0}
    clock.now = lifecycle.end_at(store.jobs[job])
    _, resource = await api("GET", f"gentraintable_jobs/{job}")
    assert resource["job_status_report"]["status"] == "DONE"
    assert await api.status(training) == "QUEUED"
    assert (await api("GET", f"gentraintable_jobs/{job}/table_data"))[0] == 200


# -- RBAC ------------------------------------------------------------------------------------------


class TestRbac:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(speed=60.0, rbac=True)

    @pytest.mark.parametrize(
        "params",
        [{}, {"group_id": "g1"}, {"project_id": "p1"}, {"group_id": "g2", "project_id": "p1"},
         {"group_id": "g1", "project_id": "p9"}],
    )  # fmt: skip
    async def test_group_and_project_are_needed(self, api, params) -> None:
        status, body = await api("GET", "training_jobs", **params)
        assert status == 403
        assert body["detail"]

    async def test_a_project_can_be_found(self, api) -> None:
        assert await api("GET", "/api/config") == (200, {"rbac": True})
        _, groups = await api("GET", "groups")
        _, projects = await api("GET", "projects", group_id=groups[0]["group_id"])
        assert [project["id"] for project in projects] == ["p1", "p2"]
        assert (await api("GET", "connectors"))[0] == 200

    async def test_jobs_belong_to_a_project(self, api) -> None:
        mine = {"group_id": "g1", "project_id": "p1"}
        other = {"group_id": "g1", "project_id": "p2"}
        _, body = await api("POST", "training_jobs", json={"job_tags": {}, "pquery_id": "churn_30d"}, **mine)
        path = f"training_jobs/{body['id']}"
        assert (await api("GET", path, **mine))[1]["project_id"] == "p1"
        assert (await api("GET", path, **other))[0] == 404
        assert len((await api("GET", "training_jobs", **mine))[1]) == 4
        assert (await api("GET", "training_jobs", **other))[1] == []
        await api("PATCH", f"{path}/tags", a="1", **mine)
        assert (await api("GET", path, **mine))[1]["tags"].keys() == {"a", "pquery_name", "pquery_id"}

    async def test_an_object_store_needs_a_connector(self, api) -> None:
        body = {"job_tags": {}, "model_training_job_id": api.model(), "predict_options": {}}
        mine = {"group_id": "g1", "project_id": "p1"}
        for connector, accepted in ((None, False), ("my_s3", True)):
            outputs = [OUTPUT | {"connector_id": connector}]
            _, answer = await api("POST", "prediction_jobs", json=body | {"outputs": outputs}, **mine)
            assert (answer[0] is not None) is accepted
