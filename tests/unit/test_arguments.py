from __future__ import annotations

from configparser import RawConfigParser

import pytest
from airflow import configuration

from airflow_provider_kumo import arguments

VARIABLE = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"


@pytest.fixture(autouse=True)
def not_in_the_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def written(monkeypatch, text: str) -> None:
    """Have Airflow read this instead of airflow.cfg."""
    file = RawConfigParser()
    file.read_string(text)
    monkeypatch.setattr(arguments, "conf", file)


def test_the_file_that_airflow_writes_itself_is_no_choice(monkeypatch, tmp_path):
    monkeypatch.setattr(configuration, "AIRFLOW_CONFIG", str(tmp_path / "airflow.cfg"))
    configuration.write_default_airflow_configuration_if_needed()
    text = (tmp_path / "airflow.cfg").read_text()
    assert "\ndefault_deferrable = false\n" in text
    written(monkeypatch, text)
    assert arguments.default_deferrable() is True
    written(monkeypatch, text.replace("default_deferrable = false", "default_deferrable = True"))
    assert arguments.default_deferrable() is True


def test_without_a_file_the_triggerer_waits(monkeypatch):
    written(monkeypatch, "")
    assert arguments.default_deferrable() is True


@pytest.mark.parametrize("chosen", [True, False])
def test_a_choice_in_a_file_of_ones_own_is_followed(monkeypatch, chosen):
    written(monkeypatch, f"[operators]\ndefault_owner = ops\ndefault_deferrable = {chosen}")
    assert arguments.default_deferrable() is chosen


@pytest.mark.parametrize("chosen", [True, False])
def test_a_choice_in_the_environment_is_followed_whatever_the_file_says(monkeypatch, chosen):
    monkeypatch.setenv(VARIABLE, str(chosen))
    assert arguments.default_deferrable() is chosen
