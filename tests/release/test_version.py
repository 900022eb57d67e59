"""One version everywhere, and what a tag asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_kumo import __version__
from dev.release import objections

if TYPE_CHECKING:
    from email.message import Message

CHANGELOG = (Path(__file__).parent.parent.parent / "CHANGELOG.md").read_text()
RELEASED = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-11-24\n\n### Added\n\n- A thing.\n"


def test_wheel_and_package_are_of_one_version_and_the_changelog_tells_of_it(metadata: Message, wheel: Path) -> None:
    assert metadata["Version"] == __version__
    assert wheel.name == f"airflow_provider_kumo-{__version__}-py3-none-any.whl"
    told = re.findall(r"^## \[([\d.]+)\]", CHANGELOG, re.MULTILINE)
    assert __version__ == told[0] if told else f"To be {__version__}," in CHANGELOG


def test_the_changelog_is_kept_by_keep_a_changelog() -> None:
    assert re.match(r"# Changelog\n.*?^## \[Unreleased\]$", CHANGELOG, re.MULTILINE | re.DOTALL)
    kinds = re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for heading in re.findall(r"^## \[(.*?)\]", CHANGELOG, re.MULTILINE):
        assert re.search(rf"^\[{re.escape(heading)}\]: https://", CHANGELOG, re.MULTILINE), f"no link for [{heading}]"


@pytest.mark.parametrize(
    ("version", "tags", "changelog", "changed"),
    [
        ("1.2.0", ["v1.2.0"], RELEASED, []),
        ("1.2.0", ["v1.2.0", "a-bookmark"], RELEASED, []),
        ("1.2.0", [], "", ["README.md"]),
        ("1.3.0.dev1", [], RELEASED, []),
    ],
    ids=["released", "another tag beside", "not tagged", "in development"],
)
def test_nothing_speaks_against(version: str, tags: list[str], changelog: str, changed: list[str]) -> None:
    assert objections(version, tags=tags, changelog=changelog, changed=changed) == []


@pytest.mark.parametrize(
    ("version", "tags", "changelog", "changed", "told"),
    [
        ("1.2.1", ["v1.2.0"], RELEASED.replace("1.2.0", "1.2.1"), [], "tag is v1.2.0, but .* is 1.2.1"),
        ("1.2.0", ["v1.2.0", "v1.2.1"], RELEASED, [], "tag is v1.2.0, v1.2.1"),
        ("1.2.0", ["v1.2.0"], RELEASED.replace(" - 2026-11-24", ""), [], "no section"),
        ("1.2.0", ["v1.2.0"], RELEASED.replace("[Unreleased]\n", "[Unreleased]\n\n- More.\n"), [], "under Unreleased"),
        ("1.2.0", ["v1.2.0"], RELEASED, ["README.md"], "differ from the tagged commit: README.md"),
        ("1.2", [], RELEASED, [], "not of the form"),
    ],
    ids=["another version", "two versions", "no date", "unreleased lines", "changed files", "not semantic"],
)
def test_it_says_what_speaks_against(
    version: str, tags: list[str], changelog: str, changed: list[str], told: str
) -> None:
    [objection] = objections(version, tags=tags, changelog=changelog, changed=changed)
    assert re.search(told, objection)
