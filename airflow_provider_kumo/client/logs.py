"""What the transports need of a logger, and how they tell an outage."""

from __future__ import annotations

from typing import Any, Protocol


class Log(Protocol):
    """A logger with ``%s`` formatting: Airflow's and the standard library's both are one."""

    def debug(self, msg: str, /, *args: Any) -> Any:
        """Tell what only somebody who hunts a fault wants to know."""

    def info(self, msg: str, /, *args: Any) -> Any:
        """Tell what a reader may want to know."""

    def warning(self, msg: str, /, *args: Any) -> Any:
        """Tell what a reader should know."""


class Outages:
    """Tells of an outage once when it begins and once when it is over, however many requests it spoils.

    :param log: where to.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lasts = False

    def spoiled(self, error: Exception) -> None:
        """Note that a request is repeated.

        :param error: what it ended with.
        """
        if not self._lasts:
            self._log.warning("%s Trying again for a while.", error)
        self._lasts = True

    def passed(self, origin: str) -> None:
        """Note that a request went well.

        :param origin: scheme and host that answered.
        """
        if self._lasts:
            self._log.info("Kumo at %s answers again.", origin)
        self._lasts = False
