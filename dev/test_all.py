"""Run the tests on every Airflow that we support, each in an environment of its own: ``make test-all``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from dev.processes import REPOSITORY, Watchdog, spawn, stop, tail, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

LOGS = REPOSITORY / ".cache" / "logs"
# A third of the time goes by waiting for real processes, so two share two cores better than one after the other.
AT_A_TIME = 2
PATIENCE = 40 * 60.0


@dataclass(frozen=True)
class Outcome:
    """What the tests on one version have come to.

    :param problem: why there are no results, or empty.
    :param skipped: how many tests were skipped for each reason.
    """

    version: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether something was tested and all of it holds."""
        return not self.problem and not self.failed and self.passed > 0

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        return f"{self.passed} passed, {self.failed} failed, {sum(self.skipped.values())} skipped"


class Runner:
    """Installs and tests versions, several at a time, and leaves nothing behind.

    :param default: the version that runs every test.
    :param on_each: what the others run: all that depends on Airflow. The rest (contract, docs, faults) is the same
        everywhere.
    :param arguments: for pytest.
    """

    def __init__(self, default: str, on_each: Sequence[str], arguments: Sequence[str]) -> None:
        self._default = default
        self._on_each = list(on_each)
        self._arguments = list(arguments)
        self._watchdog = Watchdog()
        self._running: set[int] = set()

    def run(self, versions: Sequence[str]) -> list[Outcome]:
        """Test the versions, telling each outcome as it comes, and return them in the same order."""
        outcomes: dict[str, Outcome] = {}
        pool = ThreadPoolExecutor(AT_A_TIME)
        try:
            for future in as_completed([pool.submit(self._test, version) for version in versions]):
                outcome = future.result()
                outcomes[outcome.version] = outcome
                print(f"{outcome.version:<8} {outcome} ({outcome.seconds:.0f} s)", flush=True)
                if not outcome.good:
                    print(tail(log_of(outcome.version), 150), flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop(self._running)
            self._watchdog.close()
        return [outcomes[version] for version in versions]

    def _test(self, version: str) -> Outcome:
        started = time.monotonic()
        log, report = log_of(version), LOGS / f"test-{version}.xml"
        for old in (log, report):
            old.unlink(missing_ok=True)
        every = version == self._default
        install = ["make", "ready" if every else "install", f"AIRFLOW={version}"]
        pytest = [
            REPOSITORY / (".venv" if every else f".venv-airflow-{version}") / "bin" / "python",
            *("-m", "pytest", f"--junitxml={report}"),
            *(() if every else self._on_each),
            *self._arguments,
        ]
        problem = self._call(install, log) and "not installed"
        problem = problem or ("" if self._call(pytest, log) in (0, 1) else "pytest did not come to its end")
        seconds = time.monotonic() - started
        if problem or not report.exists():
            return Outcome(version, seconds, problem=problem or "no report")
        return read_report(version, report, seconds)

    def _call(self, command: Sequence[str | Path], log: Path) -> int:
        # Our own make's flags are not for the others.
        env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        with uninterrupted():
            process = spawn(command, log=log, env=env)
            self._running.add(process.pid)
            self._watchdog.guard(process.pid)
        try:
            return process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return -1
        finally:
            stop([process.pid])
            self._watchdog.release(process.pid)
            self._running.discard(process.pid)


def log_of(version: str) -> Path:
    """Return the file with all that the installation and the tests of a version say."""
    return LOGS / f"test-{version}.log"


def read_report(version: str, report: Path, seconds: float) -> Outcome:
    """Count what pytest has written down."""
    passed = failed = 0
    skipped: dict[str, int] = defaultdict(int)
    # Not untrusted: pytest has just written it.
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif (skip := case.find("skipped")) is not None:
            skipped[skip.get("message") or "no reason"] += 1
        else:
            passed += 1
    return Outcome(version, seconds, passed, failed, dict(skipped))


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the summary: a row a version, then every reason for which something was skipped."""
    rows = ["Airflow   passed  failed  skipped  seconds"]
    reasons: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        skipped = sum(outcome.skipped.values())
        row = f"{outcome.version:<8}  {outcome.passed:>6}  {outcome.failed:>6}  {skipped:>7}  {outcome.seconds:>7.0f}"
        rows.append(f"{row}  {outcome.problem}".rstrip())
        for reason, times in outcome.skipped.items():
            reasons[reason].append(f"{times} on {outcome.version}")
    rows += [f"skipped: {reason} ({', '.join(where)})" for reason, where in reasons.items()]
    return "\n".join(rows)


def main() -> int:
    """Test the versions that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="What follows -- goes to pytest.")
    parser.add_argument("versions", nargs="+", metavar="VERSION")
    parser.add_argument("--default", required=True, metavar="VERSION", help="runs every test")
    parser.add_argument("--on-each", required=True, metavar="PATHS", help="what the others run, separated by spaces")
    ours, mark, arguments = sys.argv[1:], "--", []
    if mark in ours:
        ours, arguments = ours[: ours.index(mark)], ours[ours.index(mark) + 1 :]
    options = parser.parse_args(ours)
    versions = sorted(set(options.versions), key=lambda version: [int(part) for part in version.split(".")])
    # The default has most to do, so it starts first.
    versions.sort(key=lambda version: version != options.default)
    started = time.monotonic()
    print(f"Testing on Airflow {', '.join(versions)}, {AT_A_TIME} at a time; logs: {log_of('<version>')}", flush=True)
    outcomes = Runner(options.default, options.on_each.split(), arguments).run(versions)
    print(f"\n{table(outcomes)}\n{time.monotonic() - started:.0f} s in all")
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
