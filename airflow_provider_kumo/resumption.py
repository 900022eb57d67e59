"""Which try a trigger's event belongs to, because Airflow 3.0 hands it to every further try as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

if TYPE_CHECKING:
    from collections.abc import Mapping

# A try that fails after its trigger's event leaves method and event in the database, and the next one goes on with them
# instead of beginning. From 3.1 on Airflow forgets them with the try (``ti_update_state`` of its execution API).
AIRFLOW_REPEATS_EVENTS = AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_1_PLUS
_TRY = "deferred_in_try"


def try_of(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a task says of itself when it defers, as ``kwargs``."""
    return {_TRY: context["ti"].try_number} if AIRFLOW_REPEATS_EVENTS else {}


def own_event(next_kwargs: Mapping[str, Any] | None, context: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments to go on with, or None if they are an earlier try's: then the task has to begin.

    :param next_kwargs: what Airflow hands over when a task goes on.
    :param context: of the running try.
    """
    kwargs = dict(next_kwargs or {})
    deferred_in = kwargs.pop(_TRY, None)
    return kwargs if deferred_in is None or deferred_in == context["ti"].try_number else None
