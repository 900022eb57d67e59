"""``make faults``: every fault many times, a table, and exit code 1 if anything was counted."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dev.airflow_api import AirflowError
from dev.processes import STOP_SIGNALS, CannotStartError
from tests.faults.campaign import Campaign
from tests.faults.kinds import FAULTS, LEFT_OUT
from tests.faults.report import promised, table, windows, write_page

if TYPE_CHECKING:
    from types import FrameType


def main() -> int:
    """Run a campaign and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how often each fault is injected (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default: 1)")
    parser.add_argument("--only", default="", help="only faults whose name or group contains this; several with |")
    parser.add_argument("--sqlite", action="store_true", help="without PostgreSQL: not all faults, one at a time")
    parser.add_argument("--write", action="store_true", help="write the table to docs/reliability.md")
    options = parser.parse_args()
    wanted = options.only.split("|")
    faults = [
        fault
        for fault in FAULTS
        if any(word in f"{fault.group}: {fault.name}" for word in wanted)
        and not (options.sqlite and fault.needs_postgres)
    ]
    if not faults:
        parser.error(f"no fault's name contains {options.only!r}")
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    console = Console()
    began = time.monotonic()
    try:
        with Progress(
            TextColumn("{task.completed:>4.0f} faults"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
        ) as progress:
            bar = progress.add_task("", total=sum(options.times * fault.rows for fault in faults))
            campaign = Campaign(
                faults,
                options.times,
                options.seed,
                postgres=not options.sqlite,
                say=lambda what: progress.update(bar, description=what),
                counted=lambda count: progress.advance(bar, count),
                said=lambda line: progress.console.print(line, markup=False, highlight=False),
            )
            rows = campaign.run()
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        return 130
    except (AirflowError, CannotStartError) as error:
        print(error, file=sys.stderr)
        return 1
    console.print(table(rows))
    for line in LEFT_OUT:
        console.print(f"Left out: {line}")
    for line in windows(rows):
        console.print(f"No provider can close this: {line}")
    rows_promised = promised(rows)
    for name, tally in rows_promised.items():
        for problem in tally.problems:
            console.print(f"{name}: {problem}", highlight=False, markup=False)
    minutes = (time.monotonic() - began) / 60
    console.print(f"{sum(tally.times for tally in rows.values())} faults in {minutes:.0f} minutes, seed {options.seed}")
    if options.write:
        write_page(rows, times=options.times, seed=options.seed, minutes=minutes)
    return 0 if all(tally.spotless for tally in rows_promised.values()) else 1


def _interrupt(number: int, _: FrameType | None) -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
