from __future__ import annotations

import inspect
import json
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest

from airflow_provider_kumo.client.config import AuthType, config_from_connection
from airflow_provider_kumo.get_provider_info import get_provider_info
from airflow_provider_kumo.hooks.kumo import KumoHook

INFO = get_provider_info()
(CONNECTION_TYPE,) = INFO["connection-types"]


def test_airflow_takes_the_metadata():
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_airflow_finds_the_provider():
    (found,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        module="airflow_provider_kumo.get_provider_info"
    )
    assert found.load()()["package-name"] == "airflow-provider-kumo"


@pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
def test_every_module_that_is_named_holds_what_it_says(kind):
    base = {
        "hooks": "BaseHook",
        "operators": "BaseOperator",
        "sensors": "BaseSensorOperator",
        "triggers": "BaseTrigger",
    }
    for entry in INFO[kind]:
        assert entry["integration-name"] in {found["integration-name"] for found in INFO["integrations"]}
        for name in entry["python-modules"]:
            module = import_module(name)
            classes = [found for _, found in inspect.getmembers(module, inspect.isclass) if found.__module__ == name]
            assert any(base[kind] in {parent.__name__ for parent in found.__mro__} for found in classes)


@pytest.mark.parametrize("path", [*INFO["extra-links"], CONNECTION_TYPE["hook-class-name"]])
def test_every_class_that_is_named_is_there(path):
    module, _, name = path.rpartition(".")
    assert inspect.isclass(getattr(import_module(module), name))


def test_the_connection_form_is_the_same_before_and_after_airflow_3_2():
    assert CONNECTION_TYPE["connection-type"] == KumoHook.conn_type
    assert CONNECTION_TYPE["hook-name"] == KumoHook.hook_name
    behaviour = {key.replace("-", "_"): value for key, value in CONNECTION_TYPE["ui-field-behaviour"].items()}
    assert behaviour == KumoHook.get_ui_field_behaviour()


def test_every_field_of_the_form_is_read_and_its_default_is_the_clients():
    defaults = {name: field["schema"].get("default") for name, field in CONNECTION_TYPE["conn-fields"].items()}
    common = {"conn_id": "x", "host": None, "port": None, "schema": None, "password": "acme:x"}
    assert config_from_connection(**common, extra=defaults) == config_from_connection(**common, extra={})
    for name in defaults.keys() - {"group_id", "project_id"}:
        with pytest.raises(ValueError, match=name):
            config_from_connection(**common, extra={name: ["odd"]})


def test_the_form_offers_every_way_to_authenticate():
    assert CONNECTION_TYPE["conn-fields"]["auth_type"]["schema"]["enum"] == [str(way) for way in AuthType]


def test_the_form_never_holds_a_secret_outside_of_the_password():
    assert CONNECTION_TYPE["ui-field-behaviour"]["relabeling"]["password"] == "API key"
    assert not {"key", "token", "secret", "api_key"} & CONNECTION_TYPE["conn-fields"].keys()
