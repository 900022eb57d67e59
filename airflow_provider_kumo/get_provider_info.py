"""What Airflow reads to learn about this provider; it imports next to nothing, so that every process can afford it."""

from __future__ import annotations

from typing import Any

from airflow_provider_kumo import connection_form

_INTEGRATION = "Kumo"


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata that Airflow discovers through the ``apache_airflow_provider`` entry point.

    The connection form (``conn-fields``, ``ui-field-behaviour``) is read from here by Airflow 3.2 and later;
    earlier versions ask :class:`~airflow_provider_kumo.hooks.kumo.KumoHook` itself.
    """
    return {
        "package-name": "airflow-provider-kumo",
        "name": "Kumo",
        "description": (
            "Retrain `Kumo <https://kumo.ai>`__ predictive queries and run batch predictions; "
            "wait for hours without holding a worker."
        ),
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://kumo.ai/docs",
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("airflow_provider_kumo.hooks.kumo")],
        "operators": [_modules("airflow_provider_kumo.operators.kumo", "airflow_provider_kumo.operators.gate")],
        "sensors": [_modules("airflow_provider_kumo.sensors.kumo")],
        "triggers": [_modules("airflow_provider_kumo.triggers.kumo", "airflow_provider_kumo.triggers.kumo_events")],
        "notifications": ["airflow_provider_kumo.notifications.kumo.KumoJobNotifier"],
        "extra-links": ["airflow_provider_kumo.links.kumo.KumoJobLink"],
        "connection-types": [
            {
                "connection-type": "kumo",
                "hook-class-name": "airflow_provider_kumo.hooks.kumo.KumoHook",
                "hook-name": "Kumo",
                "ui-field-behaviour": connection_form.behaviour(),
                "conn-fields": connection_form.fields(),
            }
        ],
    }


def _modules(*modules: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": list(modules)}
