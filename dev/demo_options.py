"""What the demo is told through the environment (``make demo NAME=value``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dev.processes import port_taken

if TYPE_CHECKING:
    from collections.abc import Mapping


class DemoError(Exception):
    """The demo cannot go on; the message is all that the reader needs."""


@dataclass(frozen=True)
class Options:
    """How the demo runs.

    :param api_key: of a real Kumo; ``None`` starts a local one.
    :param keep: stay up afterwards, until Ctrl-C.
    """

    airflow_port: int
    kumo_port: int
    speed: float
    pquery_id: str
    keep: bool
    api_key: str | None = field(repr=False)
    kumo_host: str | None

    @classmethod
    def read(cls, env: Mapping[str, str], *, terminal: bool) -> Options:
        """Read the environment; empty means not given, for make exports what was never set."""
        api_key = env.get("KUMO_API_KEY") or None
        pquery_id = env.get("PQUERY") or ("" if api_key else "churn_30d")
        if not pquery_id:
            raise DemoError("Which of your predictive queries? KUMO_API_KEY=... make demo PQUERY=<id or name>")
        if env.get("KUMO_HOST") and not api_key:
            raise DemoError("KUMO_HOST names a Kumo that wants a key: KUMO_API_KEY=... make demo PQUERY=<id or name>")
        return cls(
            airflow_port=_port(env, "AIRFLOW_PORT", 8080),
            kumo_port=_port(env, "KUMO_PORT", 8123),
            speed=_speed(env.get("KUMO_SPEED") or "600"),
            pquery_id=pquery_id,
            keep=terminal and env.get("KEEP") != "0",
            api_key=api_key,
            kumo_host=env.get("KUMO_HOST") or None,
        )

    def check_ports(self) -> None:
        """Say which port is taken before anything is started."""
        wanted = {"AIRFLOW_PORT": self.airflow_port}
        if self.api_key is None:
            wanted["KUMO_PORT"] = self.kumo_port
            if self.kumo_port == self.airflow_port:
                raise DemoError(f"AIRFLOW_PORT and KUMO_PORT are both {self.kumo_port}; each needs one of its own")
        for name, port in wanted.items():
            if port_taken(port):
                free = next(other for other in range(port + 1, 65_536) if not port_taken(other))
                raise DemoError(f"Port {port} of this machine is taken. Try: make demo {name}={free}")


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise DemoError(f"{name}={text}: a port is a number from 1 to 65535")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise DemoError(f"KUMO_SPEED={text}: must be a number above 0, such as 600")
    return speed
