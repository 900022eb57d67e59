"""Gives the tests an Airflow of their own, before anything imports Airflow."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
DAG_FOLDERS = (REPOSITORY / "example_dags", REPOSITORY / "tests" / "airflow" / "dags")


def _airflow_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="airflow-provider-kumo-"))
    (home / "dags").mkdir()
    for folder in DAG_FOLDERS:
        (home / "dags" / folder.name).symlink_to(folder)
    return home


AIRFLOW_HOME = _airflow_home()
os.environ.update(
    {
        "AIRFLOW_HOME": str(AIRFLOW_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW_HOME / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        # Airflow 3.2 runs no task without one, in dag.test() either.
        "AIRFLOW__API_AUTH__JWT_SECRET": "of-the-tests-alone-and-long-enough-for-any-algorithm-there-is-now",
    }
)
# What the developer's shell says about Airflow or Kumo must not decide what a test sees.
_UNWANTED = ("AIRFLOW_CONN_", "KUMO_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
for name in [name for name in os.environ if name.upper().startswith(_UNWANTED)]:
    del os.environ[name]


def pytest_unconfigure() -> None:
    """Remove the Airflow home."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)
