"""How many status reads a second the local Kumo serves on one core. Prints one JSON object.

``python -m benchmarks.emulator``, in the environment that has the emulator's extra. The client is the least that can
be written, over raw streams, and runs in a process of its own: what is timed is the emulator's CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from urllib.request import Request, urlopen

_CONNECTIONS = 20
# Live ones; there is room for 25.
_JOBS = 20


def _serve() -> None:
    """Be the emulator: print what a client needs, then read commands from stdin."""
    from airflow_provider_kumo.emulator.local import LocalKumo

    with LocalKumo(speed=100.0) as kumo:
        print(json.dumps({"origin": kumo.origin, "key": kumo.api_key}), flush=True)
        for _ in sys.stdin:
            print(time.process_time(), flush=True)


async def _ask(port: int, key: str, ids: list[str], *, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    count = 0

    async def client(first: int) -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = first
        while time.monotonic() < deadline:
            path = f"/api/v1/training_jobs/{ids[number % len(ids)]}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
            count += 1
            number += _CONNECTIONS
        writer.close()

    await asyncio.gather(*(client(number) for number in range(_CONNECTIONS)))
    return count


def _start(origin: str, key: str) -> str:
    body = json.dumps({"pquery_id": "churn_30d", "job_tags": {"owner": "bench"}}).encode()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    with urlopen(Request(f"{origin}/api/v1/training_jobs", data=body, headers=headers), timeout=30) as answer:
        return str(json.load(answer)["id"])


def measure(*, seconds: float) -> dict[str, float]:
    """Ask for jobs as fast as the emulator answers.

    :returns: ``reads_per_second`` as seen, and ``reads_per_core_second``, from the CPU time that it took.
    """
    command = [sys.executable, "-m", "benchmarks.emulator", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        where = json.loads(server.stdout.readline())
        ids = [_start(where["origin"], where["key"]) for _ in range(_JOBS)]
        port = int(where["origin"].rpartition(":")[2])

        def cpu() -> float:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write("\n")
            server.stdin.flush()
            return float(server.stdout.readline())

        asyncio.run(_ask(port, where["key"], ids, seconds=0.5))
        before, clock = cpu(), time.perf_counter()
        count = asyncio.run(_ask(port, where["key"], ids, seconds=seconds))
        took, used = time.perf_counter() - clock, cpu() - before
        server.stdin.close()
        server.wait(timeout=30)
    return {"reads_per_second": count / took, "reads_per_core_second": count / used}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    if options.serve:
        _serve()
        os._exit(0)
    print(json.dumps(measure(seconds=options.seconds)))


if __name__ == "__main__":
    main()
