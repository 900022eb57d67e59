"""All that differs between releases of Airflow when running it: components, settings, how its API lets us in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dev.processes import LOOPBACK, CannotStartError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Settings = dict[str, dict[str, str]]

# Printed by the environment's own Python. The fingerprint covers everything installed: a provider may bring tables.
_PROBE = """
import hashlib, importlib.metadata as m, json
found = sorted({f"{d.metadata['Name']}=={d.version}" for d in m.distributions()})
print(json.dumps([m.version("apache-airflow"), hashlib.sha256("\\n".join(found).encode()).hexdigest()[:16]]))
"""


@dataclass(frozen=True)
class Release:
    """One installed Airflow."""

    version: str
    fingerprint: str

    @classmethod
    def of(cls, python: Path, env: Mapping[str, str]) -> Release:
        """Ask an environment which Airflow it has."""
        asked = subprocess.run([python, "-c", _PROBE], env=dict(env), capture_output=True, text=True, check=False)
        if asked.returncode:
            raise CannotStartError(f"No Airflow in the environment of {python}:\n{asked.stderr.strip()}")
        version, fingerprint = json.loads(asked.stdout)
        major = int(version.split(".")[0])
        if major != 3:
            raise CannotStartError(f"dev/airflow_release.py knows Airflow 3, not {version}: add its components and API")
        return cls(version, fingerprint)

    @property
    def components(self) -> dict[str, list[str]]:
        """Return the long-running commands by name.

        No log servers: they listen on every interface, and all components share one disk.
        """
        return {
            "api-server": ["api-server"],
            "dag-processor": ["dag-processor"],
            "scheduler": ["scheduler", "--skip-serve-logs"],
            "triggerer": ["triggerer", "--skip-serve-logs"],
        }

    @property
    def api_prefix(self) -> str:
        """Return where the stable REST API lives."""
        return "/api/v2"

    @property
    def token_path(self) -> str:
        """Return what gives a token to whoever asks (``simple_auth_manager_all_admins``)."""
        return "/auth/token"

    def settings(
        self, *, home: Path, dags: Path, port: int, secret: str, fernet_key: str, parallelism: int
    ) -> Settings:
        """Return the configuration of a small Airflow that reacts at once."""
        origin = f"http://{LOOPBACK}:{port}"
        return {
            "core": {
                "dags_folder": str(dags),
                "executor": "LocalExecutor",
                "parallelism": str(parallelism),
                "load_examples": "False",
                "dags_are_paused_at_creation": "False",
                "simple_auth_manager_all_admins": "True",
                "execution_api_server_url": f"{origin}/execution/",
                "fernet_key": fernet_key,
                "test_connection": "Enabled",
                "min_serialized_dag_update_interval": "1",
                # The default asks DNS, which takes seconds on a laptop that is offline.
                "hostname_callable": "socket.gethostname",
            },
            "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}"},
            "api": {
                "host": LOOPBACK,
                "port": str(port),
                "base_url": origin,
                "workers": "1",
                "secret_key": secret,
                "log_fetch_timeout_sec": "1",
            },
            "api_auth": {"jwt_secret": secret},
            "scheduler": {
                # Runs start when somebody starts them; an example's schedule would start jobs of its own.
                "use_job_schedule": "False",
                "scheduler_idle_sleep_time": "0.5",
                "job_heartbeat_sec": "2",
                "scheduler_heartbeat_sec": "2",
                "trigger_timeout_check_interval": "1",
            },
            "triggerer": {"job_heartbeat_sec": "2"},
            "dag_processor": {
                "refresh_interval": "2",
                "bundle_refresh_check_interval": "1",
                "parsing_processes": "1",
            },
            # With the default of 5 a worker may report a deferral after its trigger has fired, and the scheduler then
            # fails the task.
            "workers": {"min_heartbeat_interval": "1"},
            "usage_data_collection": {"enabled": "False"},
        }
