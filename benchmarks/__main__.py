"""Run every benchmark in one go and write the tables of docs/performance.md: ``make bench``, about ten minutes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import polling, report
from benchmarks.contestants import CONTESTANTS
from benchmarks.importing import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Result = dict[str, Any]

K = TypeVar("K")

REPOSITORY = Path(__file__).resolve().parent.parent
#: The peers and Airflow; ``make bench`` runs this program with it.
PYTHON = sys.executable
#: The local Kumo needs Kumo's schema package, which the environment of the peers does not have.
EMULATOR_PYTHON = REPOSITORY / ".venv" / "bin" / "python"

JOBS = 1000
RATE = 500.0
#: A call of airbyte's trigger blocks the event loop, so that a thousand would not get a turn each.
FEWER_JOBS = {"airbyte": 50}
PACED = ("raw aiohttp", "ideal trigger", "kumo", "databricks", "fivetran-async", "dbt-cloud")
CROWD = 5000
_EMPTY_DAG = 'from airflow.sdk import DAG\n\nwith DAG("empty"):\n    pass\n'


class Bench:
    """Runs programs of this folder one after another and keeps what they print.

    :param home: a folder for Airflow.
    :param done: called after each program.
    """

    def __init__(self, home: Path, done: Callable[[], None]) -> None:
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(REPOSITORY),
        }
        self._done = done

    def run(self, *arguments: object, python: object = PYTHON) -> Result:
        """Run a program and return the JSON object that it prints last."""
        command = [str(python), "-m", *map(str, arguments)]
        ran = subprocess.run(command, env=self._env, cwd=REPOSITORY, capture_output=True, text=True, timeout=180)
        if ran.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{ran.stderr[-3000:]}")
        self._done()
        result: Result = json.loads(ran.stdout.splitlines()[-1])
        return result

    @contextmanager
    def server(self) -> Iterator[int]:
        """Run the server whose answers are waited for. Yields its port."""
        command = [PYTHON, "-m", "benchmarks.server"]
        with subprocess.Popen(command, env=self._env, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                yield int(server.stdout.readline())
            finally:
                server.terminate()

    def waiting(self, names: Sequence[str], *, rate: float | None, runs: int) -> dict[str, Result]:
        """Let each contestant wait so many times, taking turns. Returns medians."""
        found: dict[str, list[Result]] = defaultdict(list)
        with self.server() as port:
            for _ in range(runs):
                for name in names:
                    jobs = FEWER_JOBS.get(name, JOBS)
                    pace = () if rate is None else ("--rate", rate)
                    command = ("benchmarks.wait", name, "--port", port, "--jobs", jobs, "--warm", 0.5, "--seconds", 2.5)
                    found[name].append(self.run(*command, *pace))
        return {name: _medians(results) for name, results in found.items()}

    def crowd(self) -> Result:
        """Let very many triggers wait, each polling every ten seconds."""
        with self.server() as port:
            command = ("benchmarks.wait", "kumo", "--port", port, "--jobs", CROWD, "--rate", CROWD / 10)
            return self.run(*command, "--seconds", 12)

    def profiles(self) -> dict[str, Result]:
        """Take samples of a poll of ours and of raw aiohttp, well below what the machine can do."""
        found = {}
        with self.server() as port:
            for name in ("raw aiohttp", "kumo"):
                command = ("benchmarks.wait", name, "--port", port, "--rate", 1500, "--seconds", 6, "--profile")
                found[name] = self.run(*command)
        return found

    def importing(self, *, runs: int) -> dict[str, dict[str, Result]]:
        """Import operators and triggers of every provider. Returns medians by provider and kind."""
        modules = {(name, kind): m for name, *both in PROVIDERS for kind, m in zip(_KINDS, both, strict=True)}
        # The first import of all writes byte code, and is never the median.
        results = self._side_by_side([(key, ("benchmarks.importing", m)) for key, m in modules.items()], runs=runs)
        found: dict[str, dict[str, Result]] = defaultdict(dict)
        for (name, kind), result in results.items():
            found[name][kind] = result
        return found

    def parsing(self, home: Path, *, runs: int) -> dict[str, Result]:
        """Parse an empty DAG and the example DAGs. Returns medians by file."""
        empty = home / "empty.py"
        empty.write_text(_EMPTY_DAG)
        files = [empty, *sorted((REPOSITORY / "example_dags").glob("*.py"))]
        return self._side_by_side([(f.name, ("benchmarks.importing", "--dag", f)) for f in files], runs=runs)

    def emulator(self, *, runs: int) -> Result:
        """Ask the local Kumo for the status of jobs."""
        return _medians([self.run("benchmarks.emulator", python=EMULATOR_PYTHON) for _ in range(runs)])

    def _side_by_side(self, programs: Sequence[tuple[K, tuple[object, ...]]], *, runs: int) -> dict[K, Result]:
        # Only CPU time and memory of their own are measured, so two may run at a time.
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda program: (program[0], self.run(*program[1])), [*programs] * runs))
        found: dict[K, list[Result]] = defaultdict(list)
        for key, result in results:
            found[key].append(result)
        return {key: _medians(many) for key, many in found.items()}


_KINDS = ("operators", "triggers")


def _medians(results: Sequence[Result]) -> Result:
    return {
        name: median(result[name] for result in results) if isinstance(value, int | float) else value
        for name, value in results[0].items()
    }


def _console() -> Console:
    """Return the terminal, or for a log file one that is wide enough for every table."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median counts")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    runs, started, console = options.runs, time.monotonic(), _console()
    parsed = 1 + len(list((REPOSITORY / "example_dags").glob("*.py")))
    steps = runs * (len(CONTESTANTS) + len(PACED) + 1 + parsed) + runs * 2 * len(PROVIDERS) + 3
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="kumo-bench-") as folder, Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=steps)
        bench = Bench(Path(folder), lambda: progress.advance(bar))

        def part(name: str) -> None:
            progress.update(bar, description=name)

        part("waiting, flat out")
        flat = bench.waiting(list(CONTESTANTS), rate=None, runs=runs)
        part("waiting, paced")
        paced = bench.waiting(PACED, rate=RATE, runs=runs)
        part("5000 triggers")
        crowd = bench.crowd()
        part("profile")
        profiles = bench.profiles()
        part("importing")
        importing = bench.importing(runs=runs)
        part("parsing DAG files")
        parsing = bench.parsing(Path(folder), runs=runs)
        part("the local Kumo")
        emulator = bench.emulator(runs=runs)
        part("poll policies")
        policies = polling.rows(jobs=1000)
    tables = report.tables(
        flat=flat,
        paced=paced,
        crowd=crowd,
        profiles=profiles,
        importing=importing,
        parsing=parsing,
        emulator=emulator,
        policies=policies,
    )
    for table in tables:
        console.print(table.for_terminal())
    minutes = (time.monotonic() - started) / 60
    console.print(f"{minutes:.1f} minutes")
    if options.write:
        report.write(tables, minutes=minutes, runs=runs)
        console.print(f"Written to {report.PAGE.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
