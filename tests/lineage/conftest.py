"""What is sent to OpenLineage can only be seen where Airflow's OpenLineage provider is installed: make test-lineage."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_MISSING = find_spec("openlineage") is None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder, and say why."""
    for item in items:
        if _MISSING and HERE in item.path.parents:
            item.add_marker(
                pytest.mark.skip(reason="apache-airflow-providers-openlineage is not here: make test-lineage")
            )
