"""Where the CPU time of a poll goes, by sampling: what stands between our trigger and raw aiohttp.

A timer of the process's CPU time interrupts the event loop every few milliseconds and looks at the innermost Python
frame; what C code does counts for the frame that called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

INTERVAL = 0.002

#: The first text that the file of a frame, or of one of its callers, holds decides; the innermost frame is asked first.
PARTS = (
    ("/airflow_provider_kumo/client/jobs.py", "ours: reading the job"),
    ("/airflow_provider_kumo/client/answers.py", "ours: checking the answer, masking the key"),
    ("/airflow_provider_kumo/client/config.py", "ours: checking the answer, masking the key"),
    ("/airflow_provider_kumo/client/aio.py", "ours: sending, errors, budgets, size limit"),
    ("/airflow_provider_kumo/client/policy.py", "ours: when to look again, what is news"),
    ("/airflow_provider_kumo/client/watch.py", "ours: when to look again, what is news"),
    ("/airflow_provider_kumo/", "ours: the trigger's loop"),
    ("/json/", "decoding JSON"),
    ("/aiohttp/", "aiohttp"),
    ("/yarl/", "aiohttp"),
    ("/multidict/", "aiohttp"),
    ("/asyncio/", "asyncio and sockets"),
    ("/selectors.py", "asyncio and sockets"),
    ("/benchmarks/", "the loop of the benchmark"),
)


class Sampler:
    """Counts, while it runs, which part of the program the CPU is in. For the main thread."""

    def __init__(self) -> None:
        self.parts: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to count."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> dict[str, float]:
        """Stop, and return each part's share of all samples."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        total = self.parts.total()
        return {part: count / total for part, count in self.parts.most_common()}

    def _sample(self, _: int, frame: FrameType | None) -> None:
        while frame is not None:
            if (part := _part_of(frame.f_code.co_filename)) is not None:
                self.parts[part] += 1
                return
            frame = frame.f_back
        self.parts["other"] += 1


def _part_of(filename: str) -> str | None:
    """Return the part that a file belongs to, None for what works on behalf of its caller."""
    return next((part for text, part in PARTS if text in filename), None)
