"""The tables of docs/performance.md, for a terminal and for the page."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table as TerminalTable

from benchmarks.polling import HEADINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Result = Mapping[str, Any]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
_RAW, _OURS = "raw aiohttp", "kumo"
_DISTRIBUTIONS = (
    "apache-airflow",
    "aiohttp",
    "apache-airflow-providers-databricks",
    "airflow-provider-fivetran-async",
    "apache-airflow-providers-dbt-cloud",
    "apache-airflow-providers-airbyte",
    "apache-airflow-providers-amazon",
    "apache-airflow-providers-google",
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    :param name: of the block of the page that it replaces.
    :param title: for a terminal.
    :param headings: of the columns.
    :param rows: as text.
    """

    name: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def for_terminal(self) -> TerminalTable:
        """Return it for rich."""
        table = TerminalTable(title=self.title, title_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        return table

    def for_page(self) -> str:
        """Return it as Markdown."""
        lines = [self.headings, ["---", *["---:"] * (len(self.headings) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def tables(
    *,
    flat: Mapping[str, Result],
    paced: Mapping[str, Result],
    crowd: Result,
    profiles: Mapping[str, Result],
    importing: Mapping[str, Mapping[str, Result]],
    parsing: Mapping[str, Result],
    emulator: Result,
    policies: Sequence[Sequence[str]],
) -> list[Table]:
    """Return everything that was measured as tables, ratios first."""
    return [
        _waiting(flat, paced),
        _crowd(crowd),
        _profile(profiles),
        Table(name="policies", title="Poll policies, simulated", headings=HEADINGS, rows=policies),
        _importing(importing),
        _parsing(parsing),
        Table(
            name="emulator",
            title="The local Kumo",
            headings=("", "measured", "wanted"),
            rows=[
                ("status reads a second", f"{emulator['reads_per_second']:,.0f}", "≥ 2,000"),
                ("status reads a second of its CPU", f"{emulator['reads_per_core_second']:,.0f}", ""),
            ],
        ),
    ]


def _waiting(flat: Mapping[str, Result], paced: Mapping[str, Result]) -> Table:
    def row(label: str, source: Mapping[str, Result], key: str, show: str, wanted: str, *, ratio: bool) -> list[str]:
        cells = [label]
        for name in flat:
            if name not in source:
                cells.append("")
                continue
            value = source[name][key] / (source[_RAW][key] if ratio else 1)
            text = format(value, show)
            cells.append(f"**{text}**" if name == _OURS else text)
        return [*cells, wanted]

    rows = [
        row("polls a second, over raw aiohttp", flat, "polls_per_second", ".2f", "≥ 0.75", ratio=True),
        row("CPU of a poll, over raw aiohttp", flat, "cpu", ".2f", "≤ 1.3", ratio=True),
        row("the same, paced", paced, "cpu", ".2f", "≤ 1.4", ratio=True),
        row("loop lag p99, paced, over raw aiohttp", paced, "lag_p99", ".2f", "≤ 2", ratio=True),
        row("TCP connections a 1000 polls", flat, "connections", ".0f", "≤ 10", ratio=False),
        row("memory a 1000 waiting, MB", flat, "memory", ".0f", "≤ 36", ratio=False),
        row("polls a second", flat, "polls_per_second", ".0f", "", ratio=False),
        row("CPU seconds a 1000 polls", flat, "cpu", ".3f", "", ratio=False),
        row("the same, paced", paced, "cpu", ".3f", "", ratio=False),
        row("loop lag p99, paced, ms", paced, "lag_p99", ".1f", "", ratio=False),
    ]
    names = [f"{name} (50 jobs)" if name == "airbyte" else name for name in flat]
    return Table(name="waiting", title="1000 waiting jobs", headings=("", *names, "wanted of kumo"), rows=rows)


def _crowd(crowd: Result) -> Table:
    return Table(
        name="crowd",
        title="5000 triggers in one triggerer, each polling every 10 s",
        headings=("", "measured", "wanted"),
        rows=[
            ("polls a second", f"{crowd['polls_per_second']:.0f}", "500"),
            ("loop lag p99, ms", f"{crowd['lag_p99']:.1f}", "≤ 50"),
            ("loop lag, worst, ms", f"{crowd['lag_worst']:.0f}", ""),
            ("share of one core", f"{crowd['cpu'] * crowd['polls_per_second'] / 1000:.0%}", ""),
            ("memory a 1000 waiting, MB", f"{crowd['memory']:.0f}", ""),
        ],
    )


def _profile(profiles: Mapping[str, Result]) -> Table:
    micros = {
        name: {part: share * result["cpu"] * 1000 for part, share in result["profile"].items()}
        for name, result in profiles.items()
    }
    ours, raw = micros[_OURS], micros[_RAW]
    parts = sorted({*ours, *raw}, key=lambda part: -ours.get(part, 0.0))
    rows: list[tuple[str, ...]] = [
        (part, f"{ours.get(part, 0):.0f}", f"{raw.get(part, 0):.0f}", f"{ours.get(part, 0) - raw.get(part, 0):+.0f}")
        for part in parts
    ]
    all_of_it = (sum(ours.values()), sum(raw.values()))
    rows.append(("**all**", *(f"{value:.0f}" for value in all_of_it), f"{all_of_it[0] - all_of_it[1]:+.0f}"))
    return Table(
        name="profile",
        title="CPU of one poll in µs, by samples",
        headings=("part", _OURS, _RAW, "difference"),
        rows=rows,
    )


def _importing(importing: Mapping[str, Mapping[str, Result]]) -> Table:
    def row(label: str, kind: str, key: str, show: str, wanted: str, *, ratio: bool) -> list[str]:
        cells = []
        for name, costs in importing.items():
            value = costs[kind][key] / (importing[_OURS][kind][key] if ratio else 1)
            text = format(value, show)
            cells.append(f"**{text}**" if name == _OURS else text)
        return [label, *cells, wanted]

    libraries = [", ".join(costs["triggers"]["http"]) or "none" for costs in importing.values()]
    return Table(
        name="importing",
        title="Importing, over a bare airflow.sdk",
        headings=("", *importing, "wanted of kumo"),
        rows=[
            row("operators: CPU, over kumo", "operators", "cpu", ".1f", "", ratio=True),
            row("operators: CPU ms", "operators", "cpu", ".0f", "≤ 35", ratio=False),
            row("operators: MB", "operators", "memory", ".1f", "≤ 1.5", ratio=False),
            row("operators: modules", "operators", "modules", ".0f", "≤ 40", ratio=False),
            row("triggers: CPU ms", "triggers", "cpu", ".0f", "≤ 40", ratio=False),
            ["triggers: HTTP libraries", *libraries, "at first use"],
        ],
    )


def _parsing(parsing: Mapping[str, Result]) -> Table:
    empty = parsing["empty.py"]
    rows = [
        (
            name.replace("_", "\\_") if name != "empty.py" else "an empty DAG",
            f"{cost['process']:.0f}",
            f"{cost['process'] / empty['process']:.2f}",
            f"{cost['cpu']:.0f}",
        )
        for name, cost in parsing.items()
    ]
    return Table(
        name="parsing",
        title="Parsing DAG files",
        headings=("file", "the whole process, CPU ms", "over the empty DAG", "the file alone, CPU ms"),
        rows=rows,
    )


def write(found: Sequence[Table], *, minutes: float, runs: int) -> None:
    """Replace the tables of docs/performance.md."""
    note = f"{minutes:.1f} minutes, medians of {runs} runs: {_versions()}."
    write_blocks(PAGE, found, command="make bench", note=note)


def write_blocks(page: Path, found: Sequence[Table], *, command: str, note: str) -> None:
    """Replace tables of a page, and the line that says with what they were made.

    :param page: holds a pair of comments for each table.
    :param command: that has made them.
    :param note: how long it took and with what.
    """
    text = page.read_text()
    made = f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {note}"
    for name, block in [("made", made), *((table.name, table.for_page()) for table in found)]:
        begin, end = f"<!-- begin {name}: written by {command} -->", f"<!-- end {name} -->"
        before, opening, rest = text.partition(begin)
        _, closing, after = rest.partition(end)
        if not opening or not closing:
            raise SystemExit(f"{page} has no block {name!r}")
        text = f"{before}{begin}\n{block}\n{end}{after}"
    page.write_text(text)


def _versions() -> str:
    packages = [f"{name} {version(name)}" for name in _DISTRIBUTIONS]
    machine = f"{platform.system()} on {os.cpu_count()} cores"
    return ", ".join([f"Python {platform.python_version()}", machine, *packages])
