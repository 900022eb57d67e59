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
    page.locator("#conn_type + .select2").click()
    page.locator(".select2-search__field").fill("Kumo")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Kumo host")).to_be_visible()


def press_test(page: Page, *, told: str) -> None:
    """Press Test and wait until Airflow says this."""
    page.get_by_role("button", name="Test").click()
    expect(page.locator(".alert").filter(has_text=told)).to_be_visible()


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
    press_test(page, told="does not take the key: it is mistyped, or a newer key has replaced it.")
    assert "wr0ng" not in "".join(page.locator(".alert").all_inner_texts())
    page.get_by_label("API key").fill(KEY)
    press_test(page, told=f"Kumo at {kumo.origin} takes the key of acme (")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".alert").filter(has_text="Added Row")).to_be_visible()

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
    page.goto(f"{airflow.origin}/connection/list/")
    page.locator("a[href*='/connection/edit/']").first.click()
    expect(page.get_by_label("Poll interval (seconds)")).to_have_value("1")
    page.get_by_label("API key").fill(KEY)
    press_test(page, told=f"Kumo at {kumo.origin} takes the key of acme (")

    kumo.hold(kind="training", count=1)
    run_id = airflow.trigger(DAG, {"pquery_id": "churn_30d"})
    airflow.wait_for_task(DAG, run_id, "retrain", "deferred")
    job_id = airflow.xcom(DAG, run_id, "retrain", "job_id")
    page.goto(f"{airflow.origin}/dags/{DAG}/grid?{urlencode({'dag_run_id': run_id, 'task_id': 'retrain'})}")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Kumo job").click()
    opened.value.wait_for_url(f"{kumo.origin}/jobs/{job_id}")
    expect(opened.value.get_by_role("heading", name=job_id)).to_be_visible()
    page.goto(f"{airflow.origin}/dags/{DAG}/grid?{urlencode({'dag_run_id': run_id, 'task_id': 'predict'})}")
    button = page.get_by_text("Kumo job", exact=True)
    # Airflow draws it pale, and as a link to nowhere.
    expect(button).to_have_attribute("href", "")
    kumo.release()
    assert airflow.wait_for_run(DAG, run_id) == "success"
