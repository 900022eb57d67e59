from __future__ import annotations

import asyncio
import json
import logging

import aiohttp
import pytest

from airflow_provider_kumo.emulator import control as control_module
from airflow_provider_kumo.emulator import lifecycle
from airflow_provider_kumo.emulator.control import NoSuchJob, WrongState, is_loopback
from airflow_provider_kumo.emulator.faults import Fault, FaultList
from airflow_provider_kumo.emulator.wire import Invalid

# -- jobs ------------------------------------------------------------------------------------------


async def test_the_next_job_of_a_kind_fails_and_the_one_after_does_not(api, store, control, clock) -> None:
    control.fail_next("training", title="Bad data", message="Column x is gone.", stage="Data Ingestion")
    first, second = await api.train(), await api.train()
    clock.now = lifecycle.end_at(store.jobs[first])
    _, body = await api("GET", f"training_jobs/{first}")
    report = body["job_status_report"]
    assert report["status"] == "FAILED"
    assert report["validation_response"]["errors"] == [{"title": "Bad data", "message": "Column x is gone."}]
    assert report["event_log"][-1]["stage_name"] == "Data Ingestion"
    assert body["result"] is None
    assert await api.status(second) == "RUNNING"
    with pytest.raises(Invalid, match="no stage 'Exporting'"):
        control.fail_next("training", stage="Exporting")


async def test_the_next_prediction_is_rejected(api, control) -> None:
    control.reject_next(title="No", message="Not today.")
    assert (await api.predict())[1]["errors"] == [{"title": "No", "message": "Not today."}]
    assert (await api.predict())[0] is not None


async def test_a_job_is_finished_failed_and_advanced(api, store, control, clock) -> None:
    done, failed, ahead = await api.train(), await api.train(), await api.train()
    control.finish(done)
    assert await api.status(done) == "DONE"
    _, body = await api("GET", f"training_jobs/{done}")
    assert len(body["job_status_report"]["event_log"]) == 3
    clock.tick(3)
    control.fail(failed, title="Stop", message="Stopped.")
    assert await api.status(failed) == "FAILED"
    control.advance(ahead, 30 * 60)
    assert lifecycle.virtual_at(store.jobs[ahead], clock()) > 30 * 60
    control.advance(ahead, 150 * 60)
    assert await api.status(ahead) == "DONE"
    with pytest.raises(WrongState):
        control.advance(ahead, 1)
    with pytest.raises(NoSuchJob):
        control.finish("none")


async def test_an_advance_also_shortens_the_wait_for_the_start(api, control) -> None:
    job = await api.train()
    control.advance(job, 20)
    assert await api.status(job) == "QUEUED"
    control.advance(job, 40)
    assert await api.status(job) == "RUNNING"


async def test_a_held_job_fails_when_it_is_told_to(api, control, clock) -> None:
    control.hold(kind="training", count=1)
    held = await api.train()
    clock.tick(1000)
    control.fail(held)
    assert await api.status(held) == "FAILED"


async def test_a_job_is_held_and_released(api, store, control, clock) -> None:
    control.hold(kind="training", count=1)
    held, free = await api.train(), await api.train()
    clock.tick(1000)
    assert [await api.status(held), await api.status(free)] == ["RUNNING", "DONE"]
    control.release(held)
    assert await api.status(held) == "DONE"
    assert lifecycle.end_at(store.jobs[held]) == clock()
    control.hold()
    prediction, _ = await api.predict()
    clock.tick(1000)
    assert await api.status(prediction) == "RUNNING"
    control.release()
    assert await api.status(prediction) == "DONE"
    later, _ = await api.predict()
    clock.tick(1000)
    assert await api.status(later) == "DONE"


async def test_somebody_cancels_in_the_ui(api, control, clock) -> None:
    job = await api.train()
    assert control.cancel(job) is True
    clock.tick(1)
    assert await api.status(job) == "CANCELLED"
    assert control.job(job).cancelled_by == "ui"
    assert control.cancel(job) is False


async def test_a_vanished_job_is_gone_and_its_slot_is_free(api, control) -> None:
    jobs = [await api.train() for _ in range(25)]
    control.vanish(jobs[0])
    assert (await api("GET", f"training_jobs/{jobs[0]}"))[0] == 404
    _, listed = await api("GET", "training_jobs")
    assert jobs[0] not in [job["job_id"] for job in listed]
    await api.train()
    assert control.job(jobs[0]).vanished is True


async def test_the_record_of_jobs_says_who_started_what(api, control) -> None:
    headers = {"X-API-Key": api.store.key, "User-Agent": "airflow/3"}
    body = {"job_tags": {"dag": "d"}, "pquery_id": "churn_30d"}
    await api("POST", "training_jobs", json=body, headers=headers)
    seen = control.jobs("training")[-1]
    assert (seen.started_by, seen.tags["dag"], seen.config["pquery_id"]) == ("airflow/3", "d", "churn_30d")
    assert control.jobs("prediction") == []


# -- the key ---------------------------------------------------------------------------------------


async def test_a_rotated_key_is_the_only_one(api, control, store) -> None:
    old = store.key
    new = control.rotate_key()
    assert new != old
    assert (await api("GET", "connectors", headers={"X-API-Key": old}))[0] == 401
    assert (await api("GET", "connectors"))[0] == 200
    assert control.rotate_key("mine:secret") == "mine:secret"
    with pytest.raises(Invalid):
        control.rotate_key("line\nbreak")


async def test_a_reset_goes_back_to_the_beginning(api, control, store, faults) -> None:
    first = [job.id for job in control.jobs()]
    control.rotate_key()
    await api.train()
    control.inject("status", status=500)
    control.set_list(cap=0)
    control.reset()
    assert [job.id for job in control.jobs()] == first
    assert (store.key, len(faults), control.requests()) == ("local:kumo", 0, [])
    assert len((await api("GET", "training_jobs"))[1]) == 3


# -- requests --------------------------------------------------------------------------------------


async def test_requests_are_remembered_without_credentials(api, control, clock) -> None:
    await api("GET", "training_jobs", pquery_name="churn_30d")
    await api("GET", "nothing", headers={"Authorization": "Snowflake Token=bad", "X-Trace": "7"})
    first, second = control.requests()
    assert (first.method, first.path, first.status, first.time) == ("GET", "/api/v1/training_jobs", 200, clock())
    assert first.query == {"pquery_name": "churn_30d"}
    assert (second.status, second.headers["X-Trace"]) == (401, "7")
    names = {name.lower() for seen in (first, second) for name in seen.headers}
    assert not names & {"x-api-key", "authorization"}


# -- faults ----------------------------------------------------------------------------------------


async def test_a_status_with_body_and_headers(api, control) -> None:
    control.inject("status", status=429, body='{"detail": "slow down"}', headers={"Retry-After": "7"})
    async with api.client.get("/api/config", headers={"X-API-Key": api.store.key}) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert await response.json() == {"detail": "slow down"}
    assert (await api("GET", "/api/config"))[0] == 200


async def test_an_answer_lost_after_the_job_was_created(api, control) -> None:
    control.inject("drop_after", method="POST", path="training_jobs$")
    with pytest.raises(aiohttp.ClientError):
        await api.train(job_tags={"run": "1"})
    _, found = await api("GET", "training_jobs", run="1")
    assert len(found) == 1
    assert [seen.fault for seen in control.requests()] == ["drop_after", None]


async def test_a_connection_dropped_before_anything_happened(api, control) -> None:
    control.inject("drop_before", method="POST")
    with pytest.raises(aiohttp.ClientError):
        await api.train(job_tags={"run": "1"})
    assert (await api("GET", "training_jobs", run="1"))[1] == []
    assert control.requests()[0].status == 0


async def test_a_dropped_connection_is_not_an_error_of_the_server(api, control, caplog) -> None:
    control.inject("drop_before")
    with pytest.raises(aiohttp.ClientError):
        await api("GET", "connectors")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_html_and_cut_json_and_a_redirect(api, control) -> None:
    control.inject("html")
    control.inject("cut_json")
    control.inject("redirect", location="/login?next=1")
    status, body = await api("GET", "connectors")
    assert (status, body.startswith("<html>")) == (502, True)
    async with api.client.get("/api/v1/connectors", headers={"X-API-Key": api.store.key}) as response:
        assert response.content_type == "application/json"
        text = await response.text()
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    async with api.client.get("/api/v1/connectors", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/login?next=1")


async def test_huge_and_trickled_bodies(api, control) -> None:
    control.inject("huge", size=200_000)
    control.inject("trickle", seconds=0.0)
    _, body = await api("GET", "connectors")
    assert body == "x" * 199_998
    status, body = await api("GET", "connectors")
    assert (status, len(body)) == (200, 3)


async def test_a_latency_is_waited_for(api, control) -> None:
    control.inject("latency", seconds=30)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(api("GET", "connectors"), 0.05)
    control.inject("latency", seconds=0)
    assert (await api("GET", "connectors"))[0] == 200


def test_faults_are_used_up_in_order() -> None:
    faults = FaultList()
    faults.add(Fault("html", path="training_jobs/[^/]+$", count=2, after=1))
    faults.add(Fault("latency", method="get", count=None))
    taken = [faults.take("GET", path) for path in ["/config", *["/training_jobs/1"] * 4]]
    assert [fault.kind for fault in taken if fault] == ["latency", "latency", "html", "html", "latency"]
    assert faults.take("POST", "/config") is None
    assert len(faults) == 1


@pytest.mark.parametrize(
    "options",
    [{"kind": "none"}, {"kind": "status", "status": 42}, {"kind": "html", "path": "("}, {"kind": "html", "count": 0},
     {"kind": "latency", "seconds": -1}, {"kind": "html", "colour": "red"}],
)  # fmt: skip
def test_a_fault_that_makes_no_sense_is_refused(control, options) -> None:
    with pytest.raises(Invalid):
        control.inject(**options)


# -- over HTTP -------------------------------------------------------------------------------------


async def test_the_door_needs_no_key(api, clock) -> None:
    async def act(name: str, /, **body) -> tuple[int, object]:
        status, answer = await api("POST", f"/_emulator/{name}", json=body, headers={})
        return status, answer.get("result", answer)

    assert await act("query", name="spend", query_string="PREDICT SUM(orders.price, 0, 7) FOR EACH users.user_id") == (
        200,
        "pquery-spend",
    )
    _, [old, _] = await act("past_jobs", query="spend", count=2, tags={"a": "b"})
    await act("past_jobs", query="spend", count=1, kind="prediction")
    job = await api.train("spend")
    for name, body in (
        ("fail_next", {"kind": "prediction"}),
        ("reject_next", {}),
        ("hold", {"job_id": job}),
        ("release", {}),
        ("advance", {"job_id": job, "seconds": 60}),
        ("cancel", {"job_id": job}),
        ("vanish", {"job_id": old}),
        ("list", {"order": "oldest", "cap": 5}),
    ):
        assert (await act(name, **body))[0] == 200, name
    assert (await act("finish", job_id=job))[0] == 200
    assert (await act("fail", job_id=job))[0] == 409
    assert (await act("finish", job_id="none"))[0] == 404
    _, key = await act("rotate_key")
    assert key == api.store.key
    _, summary = await api("GET", "/_emulator", headers={})
    assert key not in json.dumps(summary)
    assert summary["queries"][-1] == "spend"
    _, jobs = await api("GET", "/_emulator/jobs", headers={}, kind="prediction")
    assert [seen["started_by"] for seen in jobs] == ["past"]
    assert (await act("reset"))[0] == 200


async def test_faults_over_http(api) -> None:
    one = {"kind": "status", "status": 503}
    assert await api("POST", "/_emulator/faults", json=one, headers={}) == (200, {"result": 1})
    assert await api("POST", "/_emulator/faults", json=[one, one], headers={}) == (200, {"result": 3})
    bad = [one, {"kind": "none"}]
    assert (await api("POST", "/_emulator/faults", json=bad, headers={}))[0] == 422
    assert (await api("GET", "connectors"))[0] == 503
    _, requests = await api("GET", "/_emulator/requests", headers={})
    assert [(seen["status"], seen["fault"]) for seen in requests] == [(503, "status")]
    assert (await api("DELETE", "/_emulator/requests", headers={}))[0] == 200
    assert (await api("DELETE", "/_emulator/faults", headers={}))[0] == 200
    assert (await api("GET", "connectors"))[0] == 200


@pytest.mark.parametrize(
    ("name", "body"),
    [("query", {}), ("query", {"name": 5}), ("query", {"name": "q", "entities": "many"}),
     ("past_jobs", {"query": "churn_30d", "count": 0}), ("past_jobs", {"query": "none", "count": 1}),
     ("past_jobs", {"query": "churn_30d", "count": 1, "kind": "train_table"}),
     ("past_jobs", {"query": "churn_30d", "count": 1, "days": "1e999"}),
     ("fail_next", {"kind": "none"}), ("fail_next", {"colour": "red"}), ("hold", {"count": -1}),
     ("advance", {"job_id": "x"}), ("list", {"order": "random"}), ("faults", {"kind": "status", "status": "x"}),
     ("faults", [5])],
)  # fmt: skip
async def test_a_bad_order_is_a_422(api, name, body) -> None:
    status, answer = await api("POST", f"/_emulator/{name}", json=body, headers={})
    assert status == 422, answer


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
async def test_the_door_is_closed_to_web_pages(api, headers) -> None:
    assert (await api("POST", "/_emulator/rotate_key", headers=headers))[0] == 403


async def test_the_door_is_closed_to_other_machines(api, monkeypatch) -> None:
    monkeypatch.setattr(control_module, "is_loopback", lambda host: False)
    assert (await api("GET", "/_emulator", headers={}))[0] == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
     ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_what_a_loopback_address_is(host, expected) -> None:
    assert is_loopback(host) is expected
