"""What Airflow reads to learn about this provider; imports nothing so that every Airflow process can afford it."""

from __future__ import annotations

from typing import Any

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
        "triggers": [_modules("airflow_provider_kumo.triggers.kumo")],
        "extra-links": ["airflow_provider_kumo.links.kumo.KumoJobLink"],
        "connection-types": [
            {
                "connection-type": "kumo",
                "hook-class-name": "airflow_provider_kumo.hooks.kumo.KumoHook",
                "hook-name": "Kumo",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema", "port"],
                    "relabeling": {"password": "API key", "host": "Kumo host"},
                    "placeholders": {
                        "host": "empty: https://<customer id of the key>.kumoai.cloud/api",
                        "password": "<customer id>:<secret>",
                    },
                },
                "conn-fields": _connection_fields(),
            }
        ],
    }


def _modules(*modules: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": list(modules)}


def _connection_fields() -> dict[str, Any]:
    return {
        "auth_type": _field(
            "Authentication",
            "api_key sends X-API-Key; snowflake sends the password as a Snowflake token (Kumo inside Snowflake).",
            {"type": ["string", "null"], "enum": ["api_key", "snowflake"], "default": "api_key"},
        ),
        "verify": _field(
            "Verify TLS",
            "Check the certificate of the Kumo host. Leave on.",
            {"type": ["boolean", "null"], "default": True},
        ),
        "ca_bundle": _field(
            "CA bundle",
            "Path of a PEM file with the authorities to trust; it must exist on workers and triggerers.",
            {"type": ["string", "null"]},
        ),
        "connect_timeout": _field(
            "Connect timeout (seconds)",
            "How long to wait for a connection to be made.",
            {"type": ["number", "null"], "default": 10},
        ),
        "read_timeout": _field(
            "Read timeout (seconds)",
            "How long a whole answer may take.",
            {"type": ["number", "null"], "default": 60},
        ),
        "group_id": _field("Group id", "Kumo group, when access control is on.", {"type": ["string", "null"]}),
        "project_id": _field("Project id", "Kumo project, when access control is on.", {"type": ["string", "null"]}),
        "poll_interval": _field(
            "Poll interval (seconds)",
            "How often to look at jobs when the task does not say. Empty: spaced by the age of the job.",
            {"type": ["number", "null"]},
        ),
        "allow_http": _field(
            "Allow plain http",
            "Send the key unencrypted to a host that is not this machine. Only inside a trusted network.",
            {"type": ["boolean", "null"], "default": False},
        ),
    }


def _field(label: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}
