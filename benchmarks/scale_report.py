"""The tables of docs/scaling.md."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import Table, write_blocks
from dev.postgres import version as postgres_version

if TYPE_CHECKING:
    from benchmarks.scale import Outcome

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"


def tables(outcome: Outcome) -> list[Table]:
    """Return what was measured."""
    return [_phases(outcome), _events(outcome)]


def write(outcome: Outcome, *, minutes: float) -> None:
    """Replace the tables of the page."""
    versions = [
        f"Airflow {version('apache-airflow')}",
        f"PostgreSQL {postgres_version()}",
        f"Python {platform.python_version()}",
        f"{os.cpu_count()} cores for everything",
    ]
    write_blocks(
        PAGE, tables(outcome), command="make bench-scale", note=f"{minutes:.0f} minutes: {', '.join(versions)}."
    )


def _phases(outcome: Outcome) -> Table:
    def each(values: dict[str, float], show: str) -> str:
        return " / ".join(format(value, show) for value in values.values())

    return Table(
        name="phases",
        title="2000 waiting jobs, each polled every 10 s",
        headings=(
            "phase",
            "polls a second",
            "triggerers: share of a core",
            "triggerers: MB",
            "transactions a second",
            "rows written a second",
            "PostgreSQL: share of a core",
            "connections to it",
        ),
        rows=[
            (
                phase.name,
                each(phase.polls, ".0f"),
                each(phase.triggerer_cpu, ".0%"),
                each(phase.triggerer_memory, ".0f"),
                f"{phase.transactions:.0f}",
                f"{phase.rows_written:.0f}",
                f"{phase.database_cpu:.0%}",
                str(phase.connections),
            )
            for phase in outcome.phases
        ],
    )


def _events(outcome: Outcome) -> Table:
    jobs = sum(outcome.states.values())
    taken = ", ".join(f"{count} by {who}" for who, count in outcome.taken_by.items())
    median, p95, latest = outcome.late
    return Table(
        name="events",
        title="What happened",
        headings=("", "measured"),
        rows=[
            ("from 20 started runs to the first look at each of 2000 jobs", f"{outcome.deferring:.0f} s"),
            ("jobs of the killed triggerer", str(outcome.orphaned)),
            ("until the first of them was looked at again", f"{outcome.noticed:.0f} s"),
            ("until all were", f"{outcome.taken_over:.0f} s"),
            ("taken over", taken),
            (
                "from a job's end to the end of its task: median, p95, latest",
                f"{median:.1f} s, {p95:.1f} s, {latest:.1f} s",
            ),
            ("tasks that ended well", f"{outcome.states.get('success', 0)} of {jobs}"),
            ("jobs whose end was seen twice", str(outcome.told_twice)),
        ],
    )
