"""Kumo is away, refuses the key, or asks for patience."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from tests.faults import gates
from tests.faults.cases import ONE_JOB, Case, Fault

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.world import World

# The moments at which a storm finds tasks; a fault hits as many in each.
SUBMITTING, WAITING, RESUMING = "submitting", "waiting", "resuming"


class Storm(Fault):
    """Trouble with every request for a while, for tasks that submit, wait and resume at that moment."""

    group = "weather"
    triggerers = 2
    alone = True
    batch = 10
    # The pauses between two tries of a request grow to a minute.
    seconds = 240.0
    rows = 3
    length: float

    def strike(self, world: World, count: int, rng: random.Random) -> Iterator[Case]:
        resuming = world.start(count, hold=gates.RESUME)
        waiting = world.start(count)
        submitting = world.start(count, hold=gates.BEFORE_POST)
        world.wait_deferred([*resuming, *waiting])
        world.finish(resuming)
        world.wait_at(resuming, gates.RESUME)
        world.wait_at(submitting, gates.BEFORE_POST)
        self.break_out(world, rng)
        for run in [*submitting, *resuming]:
            run.gates.open()
        world.finish(waiting[: rng.randint(0, count)])
        # The length is the fault itself.
        time.sleep(self.length)
        self.calm(world)
        for phase, runs in {SUBMITTING: submitting, WAITING: waiting, RESUMING: resuming}.items():
            yield from (Case(run, ONE_JOB, row=f"{self.name}, {phase}") for run in runs)

    def break_out(self, world: World, rng: random.Random) -> None:
        """Begin."""
        raise NotImplementedError

    def calm(self, world: World) -> None:
        """End."""
        world.kumo.clear_faults()


class Down(Storm):
    """Kumo hangs up, answers 502 to 504, or a proxy's HTML page."""

    def break_out(self, world: World, rng: random.Random) -> None:
        kind = rng.choice(["drop_before", "status", "html"])
        world.kumo.inject(kind, count=None, status=rng.choice([502, 503, 504]))


class Down1(Down):
    name = "Kumo down for 1 s"
    length = 1.0


class Down10(Down):
    name = "Kumo down for 10 s"
    length = 10.0


class Down60(Down):
    name = "Kumo down for 60 s"
    length = 60.0


class Throttled(Storm):
    """429 with Retry-After in seconds, then as a date."""

    triggerers = 1

    name = "429 storm with Retry-After"
    length = 8.0

    def break_out(self, world: World, rng: random.Random) -> None:
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=self.length), usegmt=True)
        for _ in range(30):
            world.kumo.inject("status", status=429, headers={"Retry-After": str(rng.randint(1, 3))}, count=1)
            world.kumo.inject("status", status=429, headers={"Retry-After": until}, count=1)
        world.kumo.inject("status", status=429, headers={"Retry-After": "1"}, count=None)


class KeyRotated(Storm):
    """A new key in Kumo makes the old one invalid at once; a while later it is put into the connection."""

    triggerers = 1

    name = "key rotated"
    length = 4.0

    def break_out(self, world: World, rng: random.Random) -> None:
        world.kumo.rotate_key()

    def calm(self, world: World) -> None:
        world.write_connection("PATCH")


FAULTS: Final = (Down1, Down10, Down60, Throttled, KeyRotated)
