from __future__ import annotations

import inspect
import json
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest

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


@pytest.mark.parametrize("path", [*INFO["extra-links"], *INFO["notifications"], CONNECTION_TYPE["hook-class-name"]])
def test_every_class_that_is_named_is_there(path):
    module, _, name = path.rpartition(".")
    assert inspect.isclass(getattr(import_module(module), name))


def test_the_connection_type_is_the_hooks():
    assert CONNECTION_TYPE["connection-type"] == KumoHook.conn_type
    assert CONNECTION_TYPE["hook-name"] == KumoHook.hook_name
