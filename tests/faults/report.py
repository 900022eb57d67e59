"""The table, for a terminal and for docs/reliability.md."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from rich.table import Table

from dev.postgres import version as postgres_version
from dev.processes import REPOSITORY
from tests.faults.kinds import FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.cases import Tally

PAGE: Final = REPOSITORY / "docs" / "reliability.md"
_BEGIN: Final = "<!-- begin: written by make faults -->"
_END: Final = "<!-- end: written by make faults -->"
_COLUMNS: Final = ("times", "doubles", "orphans", "losses", "wrong states", "seconds")


def in_order(rows: Mapping[str, Tally]) -> dict[str, Tally]:
    """Return the rows in the order of the faults, whichever was over first."""
    names = [fault.name for fault in FAULTS]

    def place(row: str) -> int:
        return max((at for at, name in enumerate(names) if row == name or row.startswith(f"{name}, ")), default=-1)

    return dict(sorted(rows.items(), key=lambda item: place(item[0])))


WINDOWS: Final = frozenset(fault.name for fault in FAULTS if fault.window)


def promised(rows: Mapping[str, Tally]) -> dict[str, Tally]:
    """Return the rows that must be spotless, in order."""
    return {name: tally for name, tally in in_order(rows).items() if name not in WINDOWS}


def windows(rows: Mapping[str, Tally]) -> list[str]:
    """Return a sentence for each window that no provider can close."""
    return [
        f"{name}: {tally.orphans} of {tally.times} jobs went on running"
        for name, tally in in_order(rows).items()
        if name in WINDOWS
    ]


def table(rows: Mapping[str, Tally]) -> Table:
    """Return the table for a terminal."""
    rows = promised(rows)
    found = Table("fault")
    for column in _COLUMNS:
        found.add_column(column, justify="right")
    for name, tally in rows.items():
        style = None if tally.spotless else "red"
        found.add_row(name, *_cells(tally), style=style)
    found.add_section()
    found.add_row("all", *_cells(_sum(rows)), style="bold")
    return found


def write_page(rows: Mapping[str, Tally], *, times: int, seed: int, minutes: float) -> None:
    """Replace the table of docs/reliability.md."""
    found, rows = windows(rows), promised(rows)
    lines = [
        _BEGIN,
        f"`make faults TIMES={times} SEED={seed}`, {datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} minutes: {_versions()}.",
        "",
        f"| fault | {' | '.join(_COLUMNS)} |",
        f"|---|{'---:|' * len(_COLUMNS)}",
        *(f"| {name} | {' | '.join(_cells(tally))} |" for name, tally in rows.items()),
        f"| **all** | {' | '.join(_cells(_sum(rows)))} |",
        "",
        *(f"Beside these: {line}." for line in found),
        _END,
    ]
    text = PAGE.read_text()
    block = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
    PAGE.write_text(block.sub(lambda _: "\n".join(lines), text))


def _cells(tally: Tally) -> list[str]:
    counts = (tally.times, tally.doubles, tally.orphans, tally.losses, tally.wrong)
    return [*map(str, counts), f"{tally.seconds:.0f}"]


def _sum(rows: Mapping[str, Tally]) -> Tally:
    from tests.faults.cases import Tally

    total = Tally()
    for tally in rows.values():
        for name in ("times", "doubles", "orphans", "losses", "wrong", "seconds"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
    return total


def _versions() -> str:
    found = [f"Airflow {version('apache-airflow')}", f"Python {platform.python_version()}"]
    database = postgres_version()
    found += [f"PostgreSQL {database} with two triggerers, SQLite with one"] if database else ["SQLite"]
    for package in ("apache-airflow-providers-postgres",):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
