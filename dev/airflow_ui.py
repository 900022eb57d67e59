"""The pages of Airflow 3.3 that the browser tests and the screenshots use, by what a person sees on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


class AirflowUi:
    """Airflow's pages in one tab.

    :param page: the tab.
    :param origin: of Airflow.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin

    # Connections

    def open_connection_form(self, connection_type: str) -> Locator:
        """Open the form for a new connection of a type, "Extra Fields" unfolded, and return it."""
        self.page.goto(f"{self.origin}/connections")
        self.page.get_by_role("button", name="Add Connection").first.click()
        form = self.page.get_by_role("dialog")
        form.get_by_role("combobox", name="Connection Type").fill(connection_type)
        self.page.get_by_role("option", name=connection_type, exact=True).click()
        self.unfold(form, "Extra Fields")
        return form

    def labels(self, form: Locator) -> Locator:
        """Return the labels of the fields in the panel that is unfolded."""
        return form.locator("[data-scope=accordion][data-part=item-content][data-state=open] label[data-part=label]")

    def unfold(self, form: Locator, name: str) -> None:
        """Unfold a panel of the form, which folds the one that was open."""
        button = form.get_by_role("button", name=name, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-expanded", "true")

    def save_connection(self, form: Locator) -> None:
        """Press Save and wait until Airflow has the connection."""
        form.get_by_role("button", name="Save").click()
        form.wait_for(state="hidden")

    def test_connection(self, conn_id: str) -> str:
        """Press the Test button of a connection in the list, and return what Airflow says then."""
        self.page.get_by_role("row", name=conn_id).get_by_role("button", name="Test Connection").click()
        told = self.page.get_by_role("status").filter(has_text="Test Connection").last
        told.wait_for()
        return str(told.inner_text())

    # Runs

    def trigger(self, dag_id: str) -> None:
        """Start a run by the Trigger button of a DAG, with its params as they are."""
        self.page.goto(f"{self.origin}/dags/{quote(dag_id)}")
        self.page.get_by_role("button", name="Trigger Dag").click()
        form = self.page.get_by_role("dialog")
        form.get_by_role("button", name="Trigger", exact=True).click()
        form.wait_for(state="hidden")

    def open_task(self, dag_id: str, run_id: str, task_id: str, *, map_index: int | None = None, tab: str = "") -> None:
        """Open the page of a task instance.

        :param tab: ``details``, ``xcom`` or nothing, which is the log.
        """
        mapped = "" if map_index is None else f"/mapped/{map_index}"
        path = f"dags/{quote(dag_id)}/runs/{quote(run_id)}/tasks/{quote(task_id)}{mapped}/{tab}"
        self.page.goto(f"{self.origin}/{path}".rstrip("/"))
        self.page.get_by_role("link", name="Logs", exact=True).wait_for()

    def kumo_job(self) -> Locator:
        """Return the button to the job, on the page of a task instance's details."""
        return self.page.get_by_role("link", name="Kumo job", exact=True)

    def log(self) -> Locator:
        """Return the log, on the page of a task instance."""
        return self.page.get_by_test_id("virtualized-list").or_(self.page.locator("code").first).first


def press(ui: AirflowUi, button: Locator) -> Any:
    """Press a link and return the page on which a person lands, be it this tab or a new one."""
    with ui.page.context.expect_page() as opened:
        button.click()
    return opened.value
