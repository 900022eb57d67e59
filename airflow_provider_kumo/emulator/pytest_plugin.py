"""The ``kumo_emulator`` fixture: a local Kumo for a test, and the Airflow connection to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_kumo.emulator.local import LocalKumo


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker.

    :param config: pytest's configuration.
    """
    config.addinivalue_line(
        "markers",
        "kumo_emulator(speed=6000, seed=0, rbac=False, key=...): how the kumo_emulator fixture is started.",
    )


@pytest.fixture
def kumo_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalKumo]:
    """Run a local Kumo, and point the connection ``kumo_default`` at it.

    :param request: finds the marker.
    :param monkeypatch: sets ``AIRFLOW_CONN_KUMO_DEFAULT``.
    :returns: the local Kumo.
    """
    # Not at the top: a test session that does not use the fixture must not pay for it.
    try:
        from airflow_provider_kumo.emulator.local import LocalKumo
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}; run: pip install 'airflow-provider-kumo[emulator]'", pytrace=False)
    marker = request.node.get_closest_marker("kumo_emulator")
    with LocalKumo(**(marker.kwargs if marker else {})) as kumo:
        monkeypatch.setenv("AIRFLOW_CONN_KUMO_DEFAULT", kumo.connection_json)
        yield kumo
