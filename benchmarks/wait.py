"""One contestant in a process of its own: so many jobs waiting, and what that costs. Prints one JSON object.

``python -m benchmarks.wait 'raw aiohttp' --port 1234``
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import time
import warnings
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING
from urllib.request import urlopen

from benchmarks.profile import Sampler
from benchmarks.server import COUNTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contestants import Waiter

_LAG_PROBE = 0.005
_PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What waiting cost one contestant.

    :param polls_per_second: status reads that the server has answered.
    :param cpu: seconds of CPU per 1000 of them.
    :param lag_p99: 99th percentile, in milliseconds, of how late the event loop woke a sleeper.
    :param lag_worst: the latest of all, in milliseconds.
    :param connections: TCP connections per 1000 status reads, since the first job waits.
    :param memory: megabytes per 1000 jobs over a bare Airflow with an idle event loop.
    :param profile: share of the CPU time by part of the program, if that was asked.
    """

    polls_per_second: float
    cpu: float
    lag_p99: float
    lag_worst: float
    connections: float
    memory: float
    profile: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a contestant has to do.

    :param port: of the server.
    :param jobs: how many wait.
    :param rate: polls a second, all jobs together; None for as many as can be.
    :param warm: seconds before the clock starts.
    :param seconds: how long to measure.
    :param profile: whether to take samples, which costs a little itself.
    """

    port: int
    jobs: int
    rate: float | None
    warm: float
    seconds: float
    profile: bool


def measure(contestant: Callable[[int, float], Waiter], load: Load) -> None:
    """Let jobs wait, print what it costs, and end the process."""
    import airflow.sdk  # noqa: F401
    from airflow.triggers.base import BaseTrigger  # noqa: F401

    # Lines that nobody reads: what a log costs is not the question.
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    gc.collect()
    before = _resident()
    asyncio.run(_measure(contestant, before, load))


async def _measure(contestant: Callable[[int, float], Waiter], before: float, load: Load) -> None:
    port, jobs, rate = load.port, load.jobs, load.rate
    sampler = Sampler()
    lags: list[float] = []
    # The probe itself takes part in what is measured, the same for everybody.
    asyncio.get_running_loop().create_task(_probe(lags))
    pause = 0.0 if rate is None else jobs / rate
    wait = contestant(port, pause)
    tasks: list[asyncio.Task[None]] = []
    at_start = await _counts(port)
    for number in range(jobs):
        tasks.append(asyncio.create_task(wait(number)))
        if number % 50 == 49:
            # As a triggerer takes them up. Paced ones are spread over one round.
            await asyncio.sleep(0.01 if rate is None else 50 / rate)
    deadline = time.monotonic() + _PATIENCE
    while (await _counts(port)).get("polls", 0) - at_start.get("polls", 0) < jobs and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(load.warm)
    lags.clear()
    if load.profile:
        sampler.start()
    counts, cpu, clock = await _counts(port), time.process_time(), time.perf_counter()
    await asyncio.sleep(load.seconds)
    took, cpu = time.perf_counter() - clock, time.process_time() - cpu
    after = await _counts(port)
    memory = _resident() - before
    for task in tasks:
        if task.done():
            task.result()
    polls = after["polls"] - counts.get("polls", 0)
    all_polls = after["polls"] - at_start.get("polls", 0)
    connections = after["connections"] - at_start.get("connections", 0)
    lags.sort()
    cost = Cost(
        polls_per_second=polls / took,
        cpu=cpu / polls * 1000,
        lag_p99=lags[math.ceil(0.99 * len(lags)) - 1] * 1000,
        lag_worst=lags[-1] * 1000,
        connections=connections / all_polls * 1000,
        memory=memory * 1000 / jobs,
        profile=sampler.stop() if load.profile else {},
    )
    print(json.dumps(asdict(cost)), flush=True)
    # Closing a thousand waiting tasks in order takes longer than measuring them, and shows nothing.
    os._exit(0)


async def _probe(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_PROBE
        await asyncio.sleep(_LAG_PROBE)
        lags.append(max(0.0, loop.time() - due))


async def _counts(port: int) -> dict[str, int]:
    def ask() -> dict[str, int]:
        with urlopen(f"http://127.0.0.1:{port}{COUNTS}", timeout=60) as answer:
            counts: dict[str, int] = json.load(answer)
            return counts

    return await asyncio.to_thread(ask)


def _resident() -> float:
    """Return the megabytes of memory that this process holds and shares with nobody."""
    import psutil

    return float(psutil.Process().memory_full_info().uss) / 1e6


def main() -> None:
    from benchmarks.contestants import CONTESTANTS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--warm", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--profile", action="store_true")
    options = vars(parser.parse_args())
    measure(CONTESTANTS[options.pop("contestant")], Load(**options))


if __name__ == "__main__":
    main()
