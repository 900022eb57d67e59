"""The short form of ``make faults``: each fault twice, in real processes. The long form is what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.campaign import Campaign
from tests.faults.kinds import FAULTS
from tests.faults.report import promised

if TYPE_CHECKING:
    from tests.faults.cases import Tally

pytest.importorskip("psycopg2", reason="make faults installs what Airflow needs to speak to PostgreSQL")

FEW = 2
NAMES = [fault.name for fault in FAULTS if not fault.window]


@pytest.fixture(scope="module")
def rows() -> dict[str, Tally]:
    from dev.postgres import version

    if version() is None:
        pytest.skip("PostgreSQL is not installed")
    chosen = [fault for fault in FAULTS if not fault.window]
    return promised(Campaign(chosen, FEW, seed=1, say=str, counted=str).run())


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_doubles_orphans_and_loses_nothing(rows: dict[str, Tally], name: str) -> None:
    found = {row: tally for row, tally in rows.items() if row == name or row.startswith(f"{name}, ")}
    assert found, f"{name} was not injected"
    for row, tally in found.items():
        assert tally.spotless, f"{row}:\n" + "\n".join(tally.problems)
        assert tally.times == FEW
