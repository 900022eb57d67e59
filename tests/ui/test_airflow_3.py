"""What a person sees in a browser on Airflow 3.3, from the connection to the metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from playwright.sync_api import expect

from airflow_provider_kumo.get_provider_info import get_provider_info
from dev.airflow_stack import AirflowStack
from dev.airflow_ui import AirflowUi, press
from dev.processes import REPOSITORY
from tests.ui.conftest import KEY, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from airflow_provider_kumo.emulator.local import LocalKumo

DAG = "kumo_retrain_then_predict"
MAPPED = "kumo_many_queries"
(CONNECTION_TYPE,) = get_provider_info()["connection-types"]
EXTRA_LABELS = [field["label"] for field in CONNECTION_TYPE["conn-fields"].values()]

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStack]:
    with AirflowStack(tmp_path_factory.mktemp("airflow"), REPOSITORY / "example_dags") as airflow:
        airflow.wait_for_dags({DAG, MAPPED})
        yield airflow


@pytest.fixture
def ui(page: Page, airflow: AirflowStack) -> AirflowUi:
    return AirflowUi(page, airflow.origin)


@pytest.fixture(scope="module")
def connection(airflow: AirflowStack, kumo: LocalKumo, new_page: Callable[[], Page]) -> str:
    """Fill in the form as a person does, save it, and return the connection's id."""
    ui = AirflowUi(new_page(), airflow.origin)
    form = ui.open_connection_form("Kumo")
    form.get_by_label("Connection ID").fill("kumo_default")
    form.get_by_label("Poll interval (seconds)").fill("1")
    ui.unfold(form, "Standard Fields")
    form.get_by_label("Kumo host").fill(kumo.url)
    form.get_by_label("Port").fill(kumo.origin.rpartition(":")[2])
    form.get_by_label("API key", exact=True).fill(KEY)
    ui.save_connection(form)
    ui.page.context.close()
    return "kumo_default"


class Runs(NamedTuple):
    """The ids of two runs: one whose training waits for its release, one with a mapped training that failed."""

    held: str
    mapped: str


@pytest.fixture(scope="module")
def runs(airflow: AirflowStack, kumo: LocalKumo, connection: str, new_page: Callable[[], Page]) -> Runs:
    kumo.hold(kind="training", count=1)
    ui = AirflowUi(new_page(), airflow.origin)
    ui.trigger(DAG)
    ui.page.context.close()
    [run] = airflow.request("GET", f"dags/{DAG}/dagRuns")["dag_runs"]
    held = run["dag_run_id"]
    airflow.wait_for_task(DAG, held, "retrain", "deferred")
    kumo.fail_next("training", title="Training table is empty")
    return Runs(held, airflow.trigger(MAPPED))


@pytest.fixture(scope="module")
def finished(airflow: AirflowStack, kumo: LocalKumo, runs: Runs) -> Runs:
    kumo.release()
    assert airflow.wait_for_run(DAG, runs.held, seconds=240) == "success"
    assert airflow.wait_for_run(MAPPED, runs.mapped, seconds=240) == "failed"
    return runs


def test_the_form_has_exactly_our_fields(ui: AirflowUi) -> None:
    form = ui.open_connection_form("Kumo")
    expect(ui.labels(form)).to_have_text(EXTRA_LABELS)
    expect(form.get_by_role("checkbox", name="Verify TLS")).to_be_checked()
    expect(form.get_by_role("checkbox", name="Allow plain http")).not_to_be_checked()
    ui.unfold(form, "Standard Fields")
    expect(ui.labels(form)).to_have_text(["Description", "Kumo host", "API key", "Port"])
    expect(form.get_by_label("API key", exact=True)).to_have_attribute("type", "password")
    placeholder = "empty: https://<customer id of the key>.kumoai.cloud/api"
    expect(form.get_by_label("Kumo host")).to_have_attribute("placeholder", placeholder)


def test_test_tells_whose_key_it_is(ui: AirflowUi, connection: str, kumo: LocalKumo) -> None:
    ui.page.goto(f"{ui.origin}/connections")
    told = ui.test_connection(connection)
    assert "Test Connection Successful" in told
    assert f"Kumo at {kumo.origin} takes the key of acme (" in told
    assert "access control (RBAC) is off." in told


def test_test_tells_what_is_wrong(ui: AirflowUi, connection: str, kumo: LocalKumo) -> None:
    kumo.rotate_key()
    ui.page.goto(f"{ui.origin}/connections")
    told = ui.test_connection(connection)
    kumo.rotate_key(KEY)
    assert "Test Connection Failed" in told
    assert "does not take the key: it is mistyped, or a newer key has replaced it." in told
    assert "s3cr3t" not in ui.page.content()


def test_the_button_leads_to_the_job_while_the_task_is_deferred(ui: AirflowUi, runs: Runs, airflow, kumo) -> None:
    job_id = airflow.xcom(DAG, runs.held, "retrain", "job_id")
    ui.open_task(DAG, runs.held, "retrain", tab="details")
    expect(ui.page.get_by_test_id("state-badge").filter(has_text="Deferred").first).to_be_visible()
    job = press(ui, ui.kumo_job())
    job.wait_for_url(f"{kumo.origin}/jobs/{job_id}")
    expect(job.get_by_role("heading", name=job_id)).to_be_visible()
    expect(job.get_by_text("RUNNING", exact=True)).to_be_visible()


def test_there_is_no_button_and_no_error_while_there_is_no_job(ui: AirflowUi, runs: Runs) -> None:
    ui.open_task(DAG, runs.held, "predict", tab="details")
    expect(ui.page.get_by_role("row", name="Operator KumoBatchPredictOperator")).to_be_visible()
    expect(ui.kumo_job()).to_have_count(0)
    expect(ui.page.get_by_role("alert").filter(has_text=re.compile("error|not found", re.IGNORECASE))).to_have_count(0)


def test_the_log_tells_start_progress_and_metrics(ui: AirflowUi, finished: Runs, airflow, kumo) -> None:
    job_id = airflow.xcom(DAG, finished.held, "retrain", "job_id")
    ui.open_task(DAG, finished.held, "retrain")
    log = ui.log()
    expect(log).to_contain_text(f"Started training job {job_id}. See {kumo.origin}/jobs/{job_id}")
    expect(log).to_contain_text(re.compile(rf"Training job {job_id}: RUNNING, Training \(Experiment \d of \d\), \d+ %"))
    expect(log).to_contain_text(re.compile(rf"Training job {job_id} ended as DONE"))
    expect(log).to_contain_text(re.compile(r"metric\s+test\s+validation\s+training"))
    expect(log).to_contain_text(re.compile(r"auroc\s+0\.\d+\s+0\.\d+\s+0\.\d+"))


def test_the_metrics_are_in_the_xcom(ui: AirflowUi, finished: Runs, airflow) -> None:
    result = airflow.xcom(DAG, finished.held, "retrain")
    ui.open_task(DAG, finished.held, "retrain", tab="xcom")
    ui.page.get_by_role("button", name="Expand all extra JSON").click()
    row = ui.page.get_by_role("row", name="return_value")
    for shown in ("metrics", "auroc", str(result["metrics"]["test"]["auroc"]), result["job_id"]):
        expect(row).to_contain_text(shown)


def test_mapped_tasks_have_a_button_each_after_failure_too(ui: AirflowUi, finished: Runs, airflow) -> None:
    tasks = {
        task["map_index"]: task["state"]
        for task in airflow.task_instances(MAPPED, finished.mapped)
        if task["task_id"] == "retrain"
    }
    assert sorted(tasks.values()) == ["failed", "success", "success"]
    links = set()
    for map_index in tasks:
        ui.open_task(MAPPED, finished.mapped, "retrain", map_index=map_index, tab="details")
        link = ui.kumo_job().get_attribute("href")
        assert link == airflow.xcom(MAPPED, finished.mapped, "retrain", "tracking_url", map_index)
        links.add(link)
    assert len(links) == 3
