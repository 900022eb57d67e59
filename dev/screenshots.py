"""``make screenshots``: the pictures of the documentation, taken from a running Airflow and a running local Kumo."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import expect

from airflow_provider_kumo.emulator.local import LocalKumo
from dev.airflow_api import AirflowError
from dev.airflow_stack import AirflowStack
from dev.airflow_ui import AirflowUi
from dev.browser import chromium
from dev.processes import REPOSITORY, CannotStartError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.sync_api import FloatRect, Locator, Page

IMAGES: Final = REPOSITORY / "docs" / "images"
DAG_ID: Final = "kumo_retrain_then_predict"
RUN_ID: Final = "this_week"
CONN_ID: Final = "kumo_default"
KEY: Final = "acme:a-secret-of-kumo"
# Virtual seconds a second: a training takes half a minute, long enough to be looked at.
SPEED: Final = 250.0
SCALE: Final = 1.25
PATIENCE: Final = 60_000
# Nothing but this much around what is shown.
MARGIN: Final = 12


class Pictures:
    """Takes the pictures, in the order in which a person would see what is on them."""

    def __init__(self, page: Page, airflow: AirflowStack, kumo: LocalKumo) -> None:
        self.page = page
        self.airflow = airflow
        self.kumo = kumo
        self.ui = AirflowUi(page, airflow.origin)

    def take_all(self) -> None:
        """Take every picture."""
        self.kumo.rotate_key(KEY)
        self.connection()
        self.running()
        self.finished()

    def connection(self) -> None:
        """Fill in the form, save it, and press Test."""
        self._window(1120, 900)
        form = self.ui.open_connection_form("Kumo")
        form.get_by_label("Connection ID").fill(CONN_ID)
        self.keep("connection-form-extra", [form])
        form.get_by_label("Poll interval (seconds)").fill("2")
        self.ui.unfold(form, "Standard Fields")
        form.get_by_label("API key", exact=True).fill(KEY)
        self.page.keyboard.press("Tab")
        self.keep("connection-form", [form])
        form.get_by_label("Kumo host").fill(self.kumo.url)
        form.get_by_label("Port").fill(self.kumo.origin.rpartition(":")[2])
        self.ui.save_connection(form)
        self._window(1120, 420)
        self.page.goto(f"{self.airflow.origin}/connections")
        self.ui.test_connection(CONN_ID)
        told = self.page.get_by_role("status").last
        self.keep("connection-test", [self.page.get_by_role("table"), told])

    def running(self) -> None:
        """Start a run, and look at it while the training is under way."""
        body = {"dag_run_id": RUN_ID, "logical_date": None, "conf": {"pquery_id": "churn_30d"}}
        self.airflow.request("POST", f"dags/{DAG_ID}/dagRuns", json=body)
        self.airflow.wait_for_task(DAG_ID, RUN_ID, "retrain", "deferred", seconds=120)
        job_id = str(self.airflow.xcom(DAG_ID, RUN_ID, "retrain", "job_id"))
        self.kumo.hold(job_id)
        self._window(1280, 640)
        self.ui.open_task(DAG_ID, RUN_ID, "retrain", tab="details")
        self.ui.kumo_job().wait_for()
        self.keep("task-page")
        self.page.goto(f"{self.airflow.origin}/dags/{DAG_ID}/runs/{RUN_ID}")
        self.page.get_by_role("button", name=re.compile("Show Graph")).click()
        expect(self.page.get_by_test_id("rf__wrapper")).to_contain_text("predict")
        self.keep("dag-graph")
        # Airflow remembers the choice, and the graph would take the room of what comes next.
        self.page.get_by_role("button", name=re.compile("Show Grid")).click()
        self.kumo.release(job_id)
        self._window(900, 1000)
        self.page.goto(f"{self.kumo.origin}/jobs/{job_id}")
        expect(self.page.get_by_role("img", name="Learning curves")).to_be_visible()
        self.keep("kumo-job-page")

    def finished(self) -> None:
        """Look at the log and the result."""
        self.airflow.wait_for_run(DAG_ID, RUN_ID, seconds=300)
        self._window(1280, 760)
        self.ui.open_task(DAG_ID, RUN_ID, "retrain")
        expect(self.ui.log()).to_contain_text(re.compile(r"auroc +0"))
        self.keep("task-log")
        self._window(1280, 860)
        self.ui.open_task(DAG_ID, RUN_ID, "retrain", tab="xcom")
        self.page.get_by_role("button", name="Expand all extra JSON").click()
        expect(self.page.get_by_role("row", name="return_value")).to_contain_text("auroc")
        self.keep("task-xcom")

    def keep(self, name: str, shown: Iterable[Locator] = ()) -> None:
        """Write a picture of the window, or of the part of it that holds these."""
        boxes = [box for one in shown if (box := one.bounding_box())]
        clip: FloatRect | None = None
        if boxes:
            left = min(box["x"] for box in boxes) - MARGIN
            top = min(box["y"] for box in boxes) - MARGIN
            right = max(box["x"] + box["width"] for box in boxes) + MARGIN
            bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
            clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        path = IMAGES / f"{name}.png"
        self.page.screenshot(path=path, clip=clip, animations="disabled", caret="hide")
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size // 1024} kB", flush=True)

    def _window(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})


def main() -> int:
    """Take the pictures and return the exit code."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="airflow-screenshots-") as home,
            LocalKumo(speed=SPEED) as kumo,
            AirflowStack(Path(home), REPOSITORY / "example_dags") as airflow,
            chromium() as browser,
        ):
            airflow.wait_for_dags([DAG_ID])
            page = browser.new_page(device_scale_factor=SCALE, color_scheme="light")
            page.set_default_timeout(PATIENCE)
            expect.set_options(timeout=PATIENCE)
            Pictures(page, airflow, kumo).take_all()
    except (AirflowError, CannotStartError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
