"""The README as PyPI shows it: its own renderer, no link that leads nowhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from readme_renderer.markdown import render

from airflow_provider_kumo import __version__

if TYPE_CHECKING:
    from email.message import Message

REPOSITORY = Path(__file__).parent.parent.parent
README = (REPOSITORY / "README.md").read_text()
PAGES = f"https://github.com/kumo-ai/airflow-provider-kumo/blob/v{__version__}/"
FILES = f"https://raw.githubusercontent.com/kumo-ai/airflow-provider-kumo/v{__version__}/"


class _Links(HTMLParser):
    """Collects what a page links to, what it shows, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {found["id"] or ""} if "id" in found else set()
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        if tag == "img":
            self.images.append(found.get("src") or "")


@pytest.fixture
def description(metadata: Message) -> str:
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload(decode=True)
    assert isinstance(text, bytes)
    return text.decode()


@pytest.fixture
def page(description: str) -> _Links:
    html = render(description)
    assert html is not None
    page = _Links()
    page.feed(html)
    return page


def test_every_link_is_of_the_page_or_of_the_web(page: _Links) -> None:
    assert len(page.links) > 20
    for link in page.links:
        assert re.match("https?://", link) or link.removeprefix("#") in page.anchors, link


def test_images_come_from_the_repository_at_the_tag_of_the_version(page: _Links) -> None:
    ours = [image for image in page.images if image.startswith(FILES)]
    assert FILES + "docs/images/flow.svg" in ours
    for image in ours:
        assert (REPOSITORY / image.removeprefix(FILES)).is_file(), image
    assert all(image.startswith("https://") for image in page.images)


def test_links_to_files_are_of_the_tag_of_the_version_and_the_files_are_there(page: _Links) -> None:
    ours = [link.removeprefix(PAGES).partition("#")[0] for link in page.links if link.startswith(PAGES)]
    assert {"CHANGELOG.md", "LICENSE"} <= set(ours)
    for path in ours:
        assert (REPOSITORY / path).exists(), path


def test_nothing_else_is_changed(description: str) -> None:
    back = description.replace(PAGES, "").replace(FILES, "")
    assert back.strip() == README.strip()
