"""Stop process groups once standard input ends; see :class:`dev.processes.Watchdog`."""

from __future__ import annotations

import sys

from dev.processes import stop


def main() -> None:
    """Read ``+<leader>`` and ``-<leader>`` lines until the parent closes the pipe or dies."""
    guarded: set[int] = set()
    for line in sys.stdin:
        leader = int(line[1:])
        (guarded.add if line.startswith("+") else guarded.discard)(leader)
    if guarded:
        stop(guarded)


if __name__ == "__main__":
    main()
