"""What a person sees in a browser on Airflow 2.11: its own connection form, Test, Save, and the button to the job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from airflow_provider_kumo.get_provider_info import get_provider_info
from dev.airflow_stack import AirflowStack
from dev.processes import REPOSITORY
from tests.ui.conftest import KEY, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from airflow_provider_kumo.emulator.local import LocalKumo

DAG = "kumo_retrain_then_predict"
(CONNECTION_TYPE,) = get_provider_info()["connection-types"]
LABELS = ["Connection Id", "Connection Type", "Description", "Kumo host", "API key", "Port", "Extra"]
EXTRA_LABELS = [field["label"] for field in CONNECTION_TYPE["conn-fields"].values()]

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStack]:
    python = REPOSITORY / ".venv-airflow-2.11.2" / "bin" / "python"
    with AirflowStack(tmp_path_factory.mktemp("airflow"), REPOSITORY / "example_dags", python=python) as airflow:
        airflow.wait_for_dags({DAG})
        yield airflow


def open_form(page: Page, airflow: AirflowStack) -> None:
    page.goto(f"{airflow.origin}/connection/add")
    page.locator("#s2id_conn_type").click()
    page.keyboard.type("Kumo")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Kumo host")).to_be_visible()


def press_test(page: Page, *, kumo: LocalKumo) -> str:
    """Press Test and return what Airflow says once Kumo has been asked."""
    kumo.clear_requests()
    page.get_by_role("button", name="Test").click()
    alert = page.locator(".alert").filter(has_text="Kumo at")
    expect(alert).to_be_visible()
    return alert.inner_text()


def test_the_form_has_exactly_our_fields(page: Page, airflow: AirflowStack) -> None:
    open_form(page, airflow)
    shown = [label.strip() for label in page.locator("#model_form label:visible").all_inner_texts()]
    assert [label.rstrip(" *") for label in shown] == [*LABELS, *EXTRA_LABELS]
    expect(page.get_by_label("API key")).to_have_attribute("type", "password")
    expect(page.get_by_label("Verify TLS")).to_have_value("true")
    placeholder = "empty: https://<customer id of the key>.kumoai.cloud/api"
    expect(page.get_by_label("Kumo host")).to_have_attribute("placeholder", placeholder)


def test_a_connection_is_tested_saved_and_used(page: Page, airflow: AirflowStack, kumo: LocalKumo) -> None:
    open_form(page, airflow)
    page.get_by_label("Connection Id").fill("kumo_default")
    page.get_by_label("Kumo host").fill(kumo.url)
    page.get_by_label("API key").fill("acme:wr0ng")
    page.get_by_label("Poll interval (seconds)").fill("1")
    page.get_by_label("Allow plain http").check()
    assert "does not take the key: it is mistyped, or a newer key has replaced it." in press_test(page, kumo=kumo)
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Test").click()
    expect(page.locator(".alert")).to_contain_text(f"Kumo at {kumo.origin} takes the key of acme (")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/connection/list/**")

    saved = airflow.request("GET", "connections/kumo_default")
    assert json.loads(saved["extra"]) == {
        "auth_type": "api_key",
        "verify": "true",
        "allow_http": True,
        "connect_timeout": 10,
        "read_timeout": 60,
        "poll_interval": 1,
    }

    # The form of a stored connection, and its Test button, which Airflow breaks for forms without an extra.
    page.locator("a[href*='/connection/edit/']").first.click()
    expect(page.get_by_label("Poll interval (seconds)")).to_have_value("1")
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Test").click()
    expect(page.locator(".alert")).to_contain_text("takes the key of acme (")

    kumo.hold(kind="training", count=1)
    run_id = airflow.trigger(DAG, {"pquery_id": "churn_30d"})
    airflow.wait_for_task(DAG, run_id, "retrain", "deferred")
    job_id = airflow.xcom(DAG, run_id, "retrain", "job_id")
    page.goto(f"{airflow.origin}/dags/{DAG}/grid?{urlencode({'dag_run_id': run_id, 'task_id': 'retrain'})}")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Kumo job").click()
    opened.value.wait_for_url(f"{kumo.origin}/jobs/{job_id}")
    expect(opened.value.get_by_role("heading", name=job_id)).to_be_visible()
    kumo.release()
    assert airflow.wait_for_run(DAG, run_id) == "success"
