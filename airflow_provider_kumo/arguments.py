"""What the operators and the sensor share about their arguments: when to check them, and one default."""

from __future__ import annotations

import os
from configparser import ConfigParser
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

if TYPE_CHECKING:
    from collections.abc import Callable

# Kumo's own placeholder in a path of S3, which has the form of a template.
PARTITION = "{{PARTITION}}"


def default_deferrable() -> bool:
    """Return Airflow's ``[operators] default_deferrable`` if somebody has chosen it, else True.

    Airflow ships False as its own default; jobs of hours should not hold a worker because nobody chose. The
    ``airflow.cfg`` that Airflow itself writes holds that default too, among those of all other options.
    """
    if "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" in os.environ or (_in_file("default_deferrable") and not _generated()):
        return bool(conf.getboolean("operators", "default_deferrable"))
    return True


def _generated() -> bool:
    return all(_in_file(option) for option in ("default_cpus", "default_ram", "default_disk", "default_gpus"))


def _in_file(option: str) -> bool:
    # Airflow's own has_option also sees the defaults.
    return ConfigParser.has_option(conf, "operators", option)


def check_settled(check: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Check arguments while the DAG is parsed, if they are already what the task will run with.

    Templates and other tasks' results are checked when the task runs.

    :raises KumoArgumentError: an argument cannot be used.
    """
    if is_settled(args) and is_settled(kwargs):
        check(*args, **kwargs)


def is_settled(value: Any) -> bool:
    """Tell whether a value stands as it is: no template and no reference to another task's result in it."""
    if isinstance(value, str):
        text = value.replace(PARTITION, "")
        return "{{" not in text and "{%" not in text
    if isinstance(value, dict):
        return all(is_settled(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return all(is_settled(item) for item in value)
    # Results of other tasks resolve later, and Airflow 3 calls what can be called.
    return not (hasattr(value, "iter_references") or callable(value))
