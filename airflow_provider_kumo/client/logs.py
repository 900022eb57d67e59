"""What the transports need of a logger, so that Airflow's and the standard library's both fit."""

from __future__ import annotations

from typing import Any, Protocol


class Log(Protocol):
    """A logger with ``%s`` formatting."""

    def debug(self, msg: str, /, *args: Any) -> Any:
        """Tell what only somebody who hunts a fault wants to know."""

    def info(self, msg: str, /, *args: Any) -> Any:
        """Tell what a reader may want to know."""

    def warning(self, msg: str, /, *args: Any) -> Any:
        """Tell what a reader should know."""
