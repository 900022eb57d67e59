"""One form for every Airflow, and one meaning for whatever a form, a file or a variable delivers."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import airflow
import pytest

from airflow_provider_kumo.client.config import EXTRA_FIELDS, AuthType, KumoConfig, config_from_connection
from airflow_provider_kumo.get_provider_info import get_provider_info
from airflow_provider_kumo.hooks.kumo import KumoHook

(METADATA,) = get_provider_info()["connection-types"]
FIELDS = METADATA["conn-fields"]
HAS_WTFORMS = importlib.util.find_spec("wtforms") is not None and importlib.util.find_spec("flask_appbuilder")


@dataclass
class Unbound:
    """What a class of WTForms gives when it is called outside of a form."""

    field_class: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class AnyOf:
    values: list[str]


@pytest.fixture
def widgets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The fields as Airflow before 3.2 gets them; where it has no WTForms, made of stand-ins as Airflow 3.0 does."""
    if not HAS_WTFORMS:
        kinds = {}
        for name in ("StringField", "IntegerField", "BooleanField"):
            kinds[name] = lambda *args, name=name, **kwargs: Unbound(type(name, (), {}), args, kwargs)
        modules: dict[str, dict[str, Any]] = {
            "wtforms": kinds,
            "wtforms.validators": {"Optional": lambda: "optional", "any_of": AnyOf},
            "flask_appbuilder": {},
            "flask_appbuilder.fieldwidgets": {"BS3TextFieldWidget": object},
        }
        for name, content in modules.items():
            module = ModuleType(name)
            module.__dict__.update(content)
            monkeypatch.setitem(sys.modules, name, module)
    return KumoHook.get_connection_form_widgets()


def test_the_fields_before_airflow_3_2_are_those_since(widgets):
    kinds = {"string": "StringField", "number": "IntegerField", "boolean": "BooleanField"}
    assert list(widgets) == list(FIELDS)
    for name, widget in widgets.items():
        known = FIELDS[name]
        schema = known["schema"]
        label, *validators = widget.args
        choices = [one.values for one in (validators or [[]])[0] if hasattr(one, "values")]
        assert (label, widget.kwargs["description"]) == (known["label"], known["description"])
        if name == "verify":
            # On by default: words, because of what Airflow 2.11 makes of a box.
            assert (widget.field_class.__name__, widget.kwargs["default"]) == ("StringField", "true")
            assert choices == [["true", "false"]]
        else:
            assert widget.field_class.__name__ == kinds[schema["type"][0]]
            assert widget.kwargs["default"] == schema.get("default")
            assert choices == ([schema["enum"]] if "enum" in schema else [])


def test_the_other_fields_are_treated_alike():
    behaviour = {key.replace("-", "_"): value for key, value in METADATA["ui-field-behaviour"].items()}
    assert behaviour == KumoHook.get_ui_field_behaviour()


def test_what_kumo_does_not_use_is_hidden_and_what_it_uses_is_explained():
    behaviour = METADATA["ui-field-behaviour"]
    assert set(behaviour["hidden-fields"]) == {"login", "schema"}
    assert behaviour["relabeling"] == {"password": "API key", "host": "Kumo host"}
    assert behaviour["placeholders"]["host"].startswith("empty: https://")
    assert behaviour["placeholders"]["port"].startswith("443, or empty")


@pytest.mark.skipif(HAS_WTFORMS, reason="this Airflow has WTForms")
def test_without_wtforms_the_form_keeps_its_labels():
    assert KumoHook.get_connection_form_widgets() == {}
    assert KumoHook.get_ui_field_behaviour()["relabeling"]["password"] == "API key"


@pytest.mark.skipif(
    airflow.__version__.startswith("3.0.") and not HAS_WTFORMS, reason="Airflow 3.0 needs WTForms for any form"
)
def test_airflow_shows_the_fields():
    service = pytest.importorskip("airflow.api_fastapi.core_api.services.ui.connections", reason="Airflow 2 has none")
    [found] = [hook for hook in service.HookMetaService.hook_meta_data() if hook.connection_type == "kumo"]
    assert found.hook_name == "Kumo"
    fields = found.standard_fields
    assert (fields.password.title, fields.host.title) == ("API key", "Kumo host")
    assert [fields.login.hidden, fields.url_schema.hidden, fields.port.hidden] == [True, True, False]
    if not _is_airflow_3_0():
        assert set(found.extra_fields) == set(FIELDS)


def _is_airflow_3_0() -> bool:
    import airflow

    return airflow.__version__.startswith("3.0.")


def test_the_fields_are_those_that_are_read_and_their_defaults_those_of_the_client():
    assert FIELDS.keys() == EXTRA_FIELDS
    defaults = {name: known["schema"].get("default") for name, known in FIELDS.items()}
    common = {"conn_id": "x", "host": None, "port": None, "schema": None, "password": "acme:x"}
    assert config_from_connection(**common, extra=defaults) == config_from_connection(**common, extra={})
    for name in defaults.keys() - {"group_id", "project_id"}:
        with pytest.raises(ValueError, match=name):
            config_from_connection(**common, extra={name: ["odd"]})


def test_the_form_offers_every_way_to_authenticate():
    assert FIELDS["auth_type"]["schema"]["enum"] == [str(way) for way in AuthType]


def test_the_form_never_holds_a_secret_outside_of_the_password():
    assert not {"key", "token", "secret", "api_key"} & FIELDS.keys()


# -- what is delivered ---------------------------------------------------------------------------

CHOSEN = {
    "auth_type": "snowflake",
    "group_id": "g1",
    "project_id": "7",
    "verify": False,
    "ca_bundle": "/etc/ca.pem",
    "allow_http": True,
    "connect_timeout": 5,
    "read_timeout": 30,
    "poll_interval": 45,
}
AS_TEXT = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in CHOSEN.items()}
ALL_CHOSEN = KumoConfig(
    base_url="http://kumo.internal/api",
    secret="acme:s3cr3t",
    auth_type=AuthType.SNOWFLAKE,
    verify=False,
    connect_timeout=5.0,
    read_timeout=30.0,
    scope={"group_id": "g1", "project_id": "7"},
    poll_interval=45.0,
)
NOTHING_CHOSEN = KumoConfig(base_url="https://kumo.internal/api", secret="acme:s3cr3t")


def read(monkeypatch: pytest.MonkeyPatch, connection: str) -> KumoConfig:
    """Read a connection as every component of Airflow does."""
    monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", connection)
    return KumoHook().get_conn().config


def as_json(host: str, extra: Any) -> str:
    return json.dumps({"conn_type": "kumo", "host": host, "password": "acme:s3cr3t", "extra": extra})


def test_every_field_is_tried():
    assert CHOSEN.keys() == FIELDS.keys()


@pytest.mark.parametrize(
    "extra",
    [
        CHOSEN,
        AS_TEXT,
        json.dumps(CHOSEN),
        {**CHOSEN, "verify": "false"},
        # The Test button of Airflow 2.11: text, a ticked box is "y", and each field under two names.
        {
            **AS_TEXT,
            "allow_http": "y",
            **{f"extra__kumo__{name}": value for name, value in AS_TEXT.items()},
            "extra__kumo__allow_http": "y",
        },
    ],
    ids=["values", "text", "JSON in JSON", "saved by 2.11", "tested by 2.11"],
)
def test_fields_mean_the_same_in_whatever_form_they_come(monkeypatch, extra):
    assert read(monkeypatch, as_json("http://kumo.internal/api", extra)) == ALL_CHOSEN


def test_a_uri_carries_every_field(monkeypatch):
    uri = f"kumo://http://:acme%3As3cr3t@kumo.internal/api?{urlencode(AS_TEXT)}"
    assert read(monkeypatch, uri) == ALL_CHOSEN


@pytest.mark.parametrize(
    "extra",
    [
        {},
        None,
        "",
        dict.fromkeys(FIELDS),
        dict.fromkeys(FIELDS, ""),
        {name: known["schema"].get("default") for name, known in FIELDS.items()},
        # What Airflow 2.11 saves of a form in which only the key and the host were filled in.
        {
            "auth_type": "api_key",
            "verify": "true",
            "allow_http": False,
            "connect_timeout": 10,
            "read_timeout": 60,
            "poll_interval": None,
        },
    ],
    ids=["none", "null", "empty", "nulls", "empty texts", "defaults", "saved by 2.11"],
)
def test_fields_that_were_left_alone_mean_the_defaults(monkeypatch, extra):
    assert read(monkeypatch, as_json("kumo.internal/api", extra)) == NOTHING_CHOSEN


@pytest.mark.skipif(not HAS_WTFORMS, reason="this Airflow has no WTForms")
class TestWTForms:
    """The fields in a real form, as Airflow 2.11 uses them."""

    @pytest.fixture
    def form(self) -> Any:
        import wtforms

        return type("Form", (wtforms.Form,), KumoHook.get_connection_form_widgets())

    def test_they_do_not_keep_another_connection_type_from_being_saved(self, form):
        from werkzeug.datastructures import MultiDict

        filled = form(MultiDict({"conn_type": "postgres"}))
        assert filled.validate(), filled.errors

    def test_a_form_that_is_sent_as_it_was_shown_changes_nothing(self, form, monkeypatch):
        from werkzeug.datastructures import MultiDict

        shown = {one.name: one._value() for one in form() if one.type != "BooleanField"}
        assert shown["verify"] == "true"
        sent = form(MultiDict(shown))
        assert sent.validate(), sent.errors
        # As Airflow saves it: without what is empty.
        extra = {name: value for name, value in sent.data.items() if value != ""}
        assert read(monkeypatch, as_json("kumo.internal/api", extra)) == NOTHING_CHOSEN

    @pytest.mark.parametrize(("name", "value"), [("verify", "maybe"), ("auth_type", "magic"), ("read_timeout", "soon")])
    def test_what_cannot_be_is_told_under_the_field(self, form, name, value):
        from werkzeug.datastructures import MultiDict

        filled = form(MultiDict({name: value}))
        assert not filled.validate()
        assert list(filled.errors) == [name]
