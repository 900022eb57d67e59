"""A browser, a local Kumo and a whole Airflow for the tests that look at pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_kumo.emulator.local import LocalKumo
from dev.browser import chromium
from dev.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

KEY = "acme:s3cr3t"
# Tall, because Airflow only draws the lines of a log that can be seen.
VIEWPORT = {"width": 1400, "height": 1600}
PATIENCE = 90_000
PICTURES = REPOSITORY / ".cache" / "ui"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def new_page(browser: Browser) -> Callable[[], Page]:
    """Return a function that opens a tab of its own."""

    def open_tab() -> Page:
        context = browser.new_context(viewport=VIEWPORT)
        context.set_default_timeout(PATIENCE)
        return context.new_page()

    return open_tab


@pytest.fixture
def page(new_page: Callable[[], Page], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab; what it shows when a test fails is kept as a picture."""
    failed = request.session.testsfailed
    page = new_page()
    yield page
    if request.session.testsfailed > failed:
        page.screenshot(path=PICTURES / f"{request.node.name}.png")
    page.context.close()


@pytest.fixture(scope="module")
def kumo() -> Iterator[LocalKumo]:
    """A Kumo that takes some seconds for a job, so that its progress can be seen."""
    with LocalKumo(speed=400, key=KEY) as kumo:
        yield kumo
