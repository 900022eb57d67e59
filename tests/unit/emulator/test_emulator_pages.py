from __future__ import annotations

import re

import pytest

from airflow_provider_kumo.emulator import lifecycle

EVIL = "<script>alert(1)</script>\"'&"


async def test_the_root_leads_to_the_jobs(api) -> None:
    async with api.client.get("/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/jobs")
    status, page = await api("GET", "/jobs", headers={})
    assert status == 200
    assert page.count('<a href="/jobs/trainingjob-') == 3


async def test_the_tracking_url_shows_a_live_job(api, store, clock) -> None:
    job = await api.train()
    clock.tick(60)
    _, body = await api("GET", f"training_jobs/{job}")
    path = body["job_status_report"]["tracking_url"].removeprefix(store.origin)
    status, page = await api("GET", path, headers={})
    assert status == 200
    assert 'http-equiv="refresh"' in page
    for part in ("RUNNING", "Training", "Experiment", "<svg", "pquery_name"):
        assert part in page
    clock.now = lifecycle.end_at(store.jobs[job])
    _, page = await api("GET", path, headers={})
    assert 'http-equiv="refresh"' not in page
    assert "auroc" in page
    assert "100%" in page


async def test_pages_load_nothing_and_do_not_know_the_key(api, store, control) -> None:
    control.rotate_key("very:secret")
    for path in ("/jobs", f"/jobs/{api.model()}"):
        async with api.client.get(path) as response:
            page = await response.text()
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "very:secret" not in page
        assert not re.search(r"(src|href)=[\"'](https?:)?//", page)
        assert "<script" not in page


@pytest.mark.parametrize("where", ["tags", "query", "config", "failure"])
async def test_what_came_from_outside_is_escaped(api, control, where) -> None:
    if where == "failure":
        job = await api.train()
        control.fail(job, title=EVIL, message=EVIL)
    elif where == "tags":
        job = await api.train(job_tags={"k": EVIL})
    elif where == "query":
        control.add_query(EVIL)
        job = await api.train(EVIL)
    else:
        job, _ = await api.predict(pred_table_path=EVIL + "\ud800")
    for path in (f"/jobs/{job}", "/jobs"):
        status, page = await api("GET", path, headers={})
        assert status == 200
        assert "<script" not in page


async def test_a_page_of_no_job(api, control) -> None:
    assert (await api("GET", "/jobs/%3Cscript%3E", headers={}))[0] == 404
    control.vanish(api.model())
    status, page = await api("GET", "/jobs", headers={})
    assert (status, page.count('<a href="/jobs/trainingjob-')) == (200, 2)


async def test_failed_and_predicted(api, store, control, clock) -> None:
    job, _ = await api.predict()
    control.finish(job)
    _, page = await api("GET", f"/jobs/{job}", headers={})
    assert "entities predicted" in page
    job = await api.train()
    control.fail(job, title="Broken pipe", message="It broke.")
    _, page = await api("GET", f"/jobs/{job}", headers={})
    assert "Broken pipe" in page
