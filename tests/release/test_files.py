"""What is in the wheel and in the sdist."""

from __future__ import annotations

import filecmp
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.version import Version

from airflow_provider_kumo import __version__

if TYPE_CHECKING:
    from email.message import Message

REPOSITORY = Path(__file__).parent.parent.parent
PACKAGE = "airflow_provider_kumo"


def _tracked(folder: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", folder], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    about = {name for name in names if name.startswith(f"{PACKAGE}-{__version__}.dist-info/")}
    assert names - about == _tracked(PACKAGE)
    assert f"{PACKAGE}/py.typed" in names
    assert f"{PACKAGE}-{__version__}.dist-info/licenses/LICENSE" in about


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=sdist, check=True, capture_output=True)
    assert filecmp.cmp(tmp_path / wheel.name, wheel, shallow=False)


def test_the_sdist_holds_what_builds_it_and_the_examples(sdist: Path) -> None:
    names = {str(file.relative_to(sdist)) for file in sdist.rglob("*") if file.is_file()}
    wanted = _tracked(PACKAGE) | _tracked("example_dags") | {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"}
    assert names - {"PKG-INFO", ".gitignore"} == wanted


def test_no_dependency_of_airflow_is_capped(metadata: Message) -> None:
    needs = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    capped = {need.name: str(need.specifier) for need in needs if {"<", "<=", "==", "~="} & _operators(need)}
    # The next major of Airflow itself is the one thing that is known to break providers.
    assert capped == {"apache-airflow": "<4,>=2.11"}
    assert {need.name for need in needs if need.marker is None} == {
        "apache-airflow",
        "apache-airflow-providers-common-compat",
        "requests",
        "aiohttp",
    }


def test_lower_bounds_are_the_versions_that_make_test_lowest_takes(metadata: Message) -> None:
    listed = (REPOSITORY / "requirements" / "lowest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in listed if not line.startswith("#"))
    bounds = {
        need.name: specifier.version
        for need in map(Requirement, metadata.get_all("Requires-Dist", []))
        for specifier in need.specifier
        if specifier.operator == ">=" and (need.marker is None or need.marker.evaluate({"extra": "emulator"}))
    }
    # Airflow's own is the first of requirements/.
    assert bounds.pop("apache-airflow") == "2.11"
    assert {name: Version(pinned[name]) for name in bounds} == {name: Version(bounds[name]) for name in bounds}


def _operators(need: Requirement) -> set[str]:
    return {specifier.operator for specifier in need.specifier}
