"""The connection form: one description for every Airflow. Imports nothing, because the provider's metadata holds it.

Airflow 3.2 and later read it from the metadata; Airflow 2.11 to 3.1 ask the hook, which says the same in WTForms.
"""

from __future__ import annotations

from typing import Any


def fields() -> dict[str, dict[str, Any]]:
    """Return the fields that are kept in the extra, under the names that every way to write a connection uses."""
    return {
        "auth_type": _field(
            "Authentication",
            "api_key sends X-API-Key; snowflake sends the password as a Snowflake token (Kumo inside Snowflake).",
            {"type": ["string", "null"], "enum": ["api_key", "snowflake"], "default": "api_key"},
        ),
        "group_id": _field("Group id", "Kumo group, when access control is on.", {"type": ["string", "null"]}),
        "project_id": _field("Project id", "Kumo project, when access control is on.", {"type": ["string", "null"]}),
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
        "allow_http": _field(
            "Allow plain http",
            "Send the key unencrypted to a host that is not this machine. Only inside a trusted network.",
            {"type": ["boolean", "null"], "default": False},
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
        "poll_interval": _field(
            "Poll interval (seconds)",
            "How often to look at jobs when the task does not say. Empty: spaced by the age of the job.",
            {"type": ["number", "null"]},
        ),
    }


def behaviour() -> dict[str, Any]:
    """Return what becomes of Airflow's own fields.

    Two are there for the Test button alone: Airflow 3.3 refuses to test a stored connection without a port, and that of
    Airflow 2.11 does nothing on a stored connection without a visible extra.
    """
    return {
        "hidden-fields": ["login", "schema"],
        "relabeling": {"password": "API key", "host": "Kumo host"},
        "placeholders": {
            "host": "empty: https://<customer id of the key>.kumoai.cloud/api",
            "port": "443, or empty; the Test button of Airflow 3.3 needs one",
            "password": "<customer id>:<secret>",
        },
    }


def behaviour_before_airflow_3_2() -> dict[str, Any]:
    """Return what becomes of Airflow's own fields, as the hook has to say it."""
    return {key.replace("-", "_"): value for key, value in behaviour().items()}


def widgets_before_airflow_3_2() -> dict[str, Any]:
    """Return the fields as the WTForms that the hook has to give.

    Airflow 3.0 without the FAB provider has none; an error there would cost the form its labels as well.
    """
    try:
        import flask_appbuilder.fieldwidgets  # noqa: F401
        import wtforms.validators  # noqa: F401
    except ImportError:
        return {}
    return {name: _widget(field["label"], field["description"], **field["schema"]) for name, field in fields().items()}


def _field(label: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


def _widget(
    label: str, description: str, *, type: list[str], default: Any = None, enum: list[str] | None = None
) -> Any:
    # Airflow 3.0 and 3.1 put stand-ins of their own in the place of these while they ask.
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import BooleanField, IntegerField, StringField
    from wtforms.validators import Optional, any_of

    # Airflow 2.11 checks the fields of every connection type whatever is saved: each must pass when it is empty.
    common: dict[str, Any] = {"description": description, "widget": BS3TextFieldWidget()}
    match type[0]:
        case "boolean" if default:
            # A checkbox that is on by default cannot be switched off in Airflow 2.11: its Test button sends nothing for
            # it, and its form for a stored connection shows it as on again. Words stay what they are.
            return StringField(label, [Optional(), any_of(["true", "false"])], default="true", **common)
        case "boolean":
            return BooleanField(label, description=description, default=default)
        case "number":
            return IntegerField(label, [Optional()], default=default, **common)
        case _:
            choices = [any_of(enum)] if enum else []
            return StringField(label, [Optional(), *choices], default=default, **common)
