"""What ``make dist`` has built, for the tests of it. They run without Airflow: ``make test-dist``."""

from __future__ import annotations

import email
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

DIST = Path(__file__).parent.parent.parent / "dist"


def _built(pattern: str) -> Path:
    found = list(DIST.glob(pattern))
    assert len(found) == 1, f"{DIST} has {len(found)} files like {pattern}; run make dist"
    return found[0]


@pytest.fixture(scope="session")
def wheel() -> Path:
    return _built("*.whl")


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the sdist unpacks to."""
    with tarfile.open(_built("*.tar.gz")) as archive:
        archive.extractall(folder := tmp_path_factory.mktemp("sdist"), filter="data")
    [unpacked] = folder.iterdir()
    return unpacked


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))
