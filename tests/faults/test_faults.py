"""The short form of ``make faults``: each fault twice, in real processes. The long form is what counts."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import pytest

from dev.postgres import version
from tests.faults.campaign import Campaign
from tests.faults.kinds import FAULTS
from tests.faults.report import promised

if TYPE_CHECKING:
    from tests.faults.cases import Tally

FEW = 2
CHOSEN = [fault for fault in FAULTS if not fault.window]


def _missing() -> str | None:
    if importlib.util.find_spec("psycopg2") is None:
        return "Airflow cannot speak to PostgreSQL here: make test and make faults install what it needs"
    if version() is None:
        return "PostgreSQL is not installed (Debian and Ubuntu: apt-get install postgresql)"
    return None


@pytest.fixture(scope="module")
def rows() -> dict[str, Tally]:
    missing = _missing()
    if missing and os.environ.get("CI"):
        pytest.fail(f"{missing}, and this is CI")
    if missing:
        pytest.skip(missing)
    return promised(Campaign(CHOSEN, FEW, seed=1, say=str, counted=str).run())


@pytest.mark.parametrize("name", [fault.name for fault in CHOSEN])
def test_a_fault_doubles_orphans_and_loses_nothing(rows: dict[str, Tally], name: str) -> None:
    found = {row: tally for row, tally in rows.items() if row == name or row.startswith(f"{name}, ")}
    assert found, f"{name} was not injected"
    for row, tally in found.items():
        assert tally.spotless, f"{row}:\n" + "\n".join(tally.problems)
        assert tally.times == FEW
