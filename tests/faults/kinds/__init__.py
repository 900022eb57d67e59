"""Every fault that is injected, and those that this Airflow cannot get through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.faults.cases import AIRFLOW
from tests.faults.kinds import components, endings, people, weather, workers

if TYPE_CHECKING:
    from tests.faults.cases import Fault

_ALL: Final[tuple[type[Fault], ...]] = (
    *workers.FAULTS,
    *components.FAULTS,
    *people.FAULTS,
    *endings.FAULTS,
    *weather.FAULTS,
)

FAULTS: Final = tuple(fault for fault in _ALL if AIRFLOW not in fault.beyond)
#: Why some are left out, in sentences.
LEFT_OUT: Final = tuple(f"{fault.name}: {fault.beyond[AIRFLOW]}" for fault in _ALL if AIRFLOW in fault.beyond)
