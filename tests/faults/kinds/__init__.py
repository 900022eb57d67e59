"""Every fault that is injected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.faults.kinds import components, endings, people, weather, workers

if TYPE_CHECKING:
    from tests.faults.cases import Fault

FAULTS: Final[tuple[type[Fault], ...]] = (
    *workers.FAULTS,
    *components.FAULTS,
    *people.FAULTS,
    *endings.FAULTS,
    *weather.FAULTS,
)
