"""What the Test button of a connection asks, and its answer in one sentence."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import (
    KumoAuthenticationError,
    KumoError,
    KumoNotFoundError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.policy import ONE_TRY
from airflow_provider_kumo.client.sync import KumoClient

if TYPE_CHECKING:
    from airflow_provider_kumo.client.config import KumoConfig
    from airflow_provider_kumo.client.logs import Log

# A person waits, and so does a thread of the web server, which runs the check.
_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = 10.0
_READ_TIMEOUT_OF_FLAGS = 3.0

_NEXT_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z])")


def check(config: KumoConfig, *, log: Log) -> tuple[bool, str]:
    """Send the request that Kumo's own client checks a key with, once.

    :param config: the connection; its timeouts are shortened to seconds.
    :returns: whether Kumo takes the key, and in one sentence whose it is, or what is wrong.
    """
    call = calls.list_connectors()
    with KumoClient(lambda: _hasty(config, _READ_TIMEOUT), log=log) as client:
        started = time.monotonic()
        try:
            client.send(call, budgets=ONE_TRY)
        except KumoError as error:
            return False, one_sentence(_complaint(error, call, config))
        took = time.monotonic() - started
    whose = f"the key of {config.tenant}" if config.tenant else "the key"
    access = _access_control(config, log=log)
    return True, f"Kumo at {config.origin} takes {whose} ({took * 1000:.0f} ms); access control (RBAC) is {access}."


def one_sentence(text: str) -> str:
    """Make one sentence of an error's text, which says what, where and what to do in sentences of their own.

    :param text: the text, on any number of lines.
    """
    first, *others = _NEXT_SENTENCE.split(" ".join(text.split()))
    parts = [first, *(_uncapitalized(other) for other in others)]
    return "; ".join(part.rstrip(".") for part in parts) + "."


def _uncapitalized(sentence: str) -> str:
    keeps = sentence.startswith("Kumo") or sentence[1:2].isupper()
    return sentence if keeps else sentence[0].lower() + sentence[1:]


def _complaint(error: KumoError, call: calls.Call[int], config: KumoConfig) -> str:
    if isinstance(error, KumoAuthenticationError):
        return f"Kumo at {config.origin} does not take the key: it is mistyped, or a newer key has replaced it"
    said = str(error).removeprefix(f"Could not {call.what}: ").removeprefix(f"Kumo at {config.origin} ")
    is_no_kumo = isinstance(error, KumoUnavailableError) and error.status is not None and error.status < 300
    if isinstance(error, KumoNotFoundError) or is_no_kumo:
        what = said.partition(". ")[0].rstrip(".")
        return (
            f"There is no API of Kumo at {config.base_url}, which {what}: check the host, "
            "and the path, which only Kumo's own cloud gets by itself (/api)"
        )
    return str(error).removeprefix(f"Could not {call.what}: ")


def _access_control(config: KumoConfig, *, log: Log) -> str:
    """Say whether groups and projects matter; a Kumo that does not tell is no worse for it, as in its own client."""
    try:
        with KumoClient(lambda: _hasty(config, _READ_TIMEOUT_OF_FLAGS), log=log) as client:
            flags = client.send(calls.get_config(), budgets=ONE_TRY)
    except KumoError as error:
        log.debug("%s", error)
        return "on or off, which this Kumo does not tell"
    if not flags.get("rbac"):
        return "off"
    named = [f"{name.removesuffix('_id')} {value}" for name, value in config.scope.items()]
    missing = [name for name in ("group_id", "project_id") if name not in config.scope]
    if missing:
        return f"on, but the connection names no {' and no '.join(missing)}"
    return f"on ({', '.join(named)})"


def _hasty(config: KumoConfig, read_timeout: float) -> KumoConfig:
    return replace(
        config,
        connect_timeout=min(config.connect_timeout, _CONNECT_TIMEOUT),
        read_timeout=min(config.read_timeout, read_timeout),
    )
