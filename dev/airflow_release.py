"""All that differs between releases of Airflow when running it: components, settings, how its API lets us in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dev.processes import LOOPBACK, CannotStartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import requests

Settings = dict[str, dict[str, str]]
Record = dict[str, Any]

# Printed by the environment's own Python. The fingerprint covers everything installed: a provider may bring tables.
_PROBE = """
import hashlib, importlib.metadata as m, json
found = sorted({f"{d.metadata['Name']}=={d.version}" for d in m.distributions()})
print(json.dumps([m.version("apache-airflow"), hashlib.sha256("\\n".join(found).encode()).hexdigest()[:16]]))
"""


@dataclass(frozen=True)
class Release:
    """One installed Airflow: 3.0 and later here, what Airflow 2 does otherwise in :class:`_Airflow2`."""

    version: str
    fingerprint: str

    @classmethod
    def of(cls, python: Path, env: Mapping[str, str]) -> Release:
        """Ask an environment which Airflow it has."""
        asked = subprocess.run([python, "-c", _PROBE], env=dict(env), capture_output=True, text=True, check=False)
        if asked.returncode:
            raise CannotStartError(f"No Airflow in the environment of {python}:\n{asked.stderr.strip()}")
        version, fingerprint = json.loads(asked.stdout)
        known: dict[str, type[Release]] = {"2": _Airflow2, "3": cls}
        major, _, _ = version.partition(".")
        if major not in known:
            raise CannotStartError(f"dev/airflow_release.py knows Airflow 2 and 3, not {version}")
        return known[major](version, fingerprint)

    # Running it

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
    def environment(self) -> dict[str, str]:
        """Return what every component needs in its environment."""
        return {}

    def files(self) -> dict[str, str]:
        """Return what belongs into ``AIRFLOW_HOME`` beside ``airflow.cfg``: name and text."""
        return {}

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
            # Airflow 3.0 with a recent PyJWT makes no token without an issuer.
            "api_auth": {"jwt_secret": secret, "jwt_issuer": "airflow"},
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

    # Its REST API

    api_prefix: ClassVar[str] = "/api/v2"
    #: Whether the API clears tasks in every state.
    api_clears: ClassVar[bool] = True
    health_path: ClassVar[str] = "monitor/health"
    reporting: ClassVar[tuple[str, ...]] = ("metadatabase", "scheduler", "triggerer", "dag_processor")
    # Gives a token to whoever asks (``simple_auth_manager_all_admins``); None where nobody needs one.
    login_path: ClassVar[str | None] = "/auth/token"
    log_type: ClassVar[str] = "application/json"

    def run_body(self, moment: str | None, conf: Mapping[str, Any]) -> Record:
        """Return the body that starts a run."""
        return {"logical_date": moment, "conf": dict(conf)}

    def state_body(self, state: str) -> Record:
        """Return the body that marks a task instance."""
        return {"new_state": state}

    def clear_body(self, run_id: str, task_ids: Sequence[str | tuple[str, int]]) -> Record:
        """Return the body that clears task instances."""
        return {"dry_run": False, "dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False}

    def clear_forms(
        self, dag_id: str, logical_date: str, task_ids: Sequence[str | tuple[str, int]]
    ) -> Iterator[Record]:
        """Return what the button of the web server sends to clear task instances, where the API does not do it."""
        raise NotImplementedError

    def pool_body(self, name: str, slots: int) -> Record:
        """Return the body that gives a pool another size."""
        return {"pool": name, "slots": slots, "include_deferred": False}

    def links(self, answer: Record) -> dict[str, str | None]:
        """Return the extra links out of the answer that has them."""
        found: dict[str, str | None] = answer["extra_links"]
        return found

    def log_lines(self, answer: requests.Response) -> list[str]:
        """Return the lines of a log out of the answer that has it."""
        return [line if isinstance(line, str) else _log_line(line) for line in answer.json()["content"]]


class _Airflow2(Release):
    """Airflow 2.11: another web server and API; on SQLite its scheduler parses the DAGs itself."""

    @property
    def components(self) -> dict[str, list[str]]:
        components = {**super().components, "api-server": ["webserver"]}
        del components["dag-processor"]
        return components

    @property
    def environment(self) -> dict[str, str]:
        # Airflow 2 allows SQLite with its SequentialExecutor alone, which stops the scheduler while a task runs.
        return {"_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1"}

    def files(self) -> dict[str, str]:
        # What simple_auth_manager_all_admins is in Airflow 3.
        # Its buttons are pressed without a form to take a token from.
        return {"webserver_config.py": 'AUTH_ROLE_PUBLIC = "Admin"\nWTF_CSRF_ENABLED = False\n'}

    def settings(
        self, *, home: Path, dags: Path, port: int, secret: str, fernet_key: str, parallelism: int
    ) -> Settings:
        settings = super().settings(
            home=home, dags=dags, port=port, secret=secret, fernet_key=fernet_key, parallelism=parallelism
        )
        processing = settings.pop("dag_processor")
        for section in ("api_auth", "workers"):
            del settings[section]
        for option in ("simple_auth_manager_all_admins", "execution_api_server_url"):
            del settings["core"][option]
        # Its processes write to one SQLite file; the default waits five seconds for each other.
        settings["database"]["sql_alchemy_conn"] += "?timeout=60"
        settings["api"] = {"auth_backends": "airflow.api.auth.backend.default"}
        settings["webserver"] = {
            "web_server_host": LOOPBACK,
            "web_server_port": str(port),
            "base_url": f"http://{LOOPBACK}:{port}",
            "workers": "1",
            "secret_key": secret,
            "log_fetch_timeout_sec": "1",
        }
        settings["scheduler"].update(
            {
                "dag_dir_list_interval": processing["refresh_interval"],
                "parsing_processes": processing["parsing_processes"],
            }
        )
        return settings

    api_prefix = "/api/v1"
    health_path = "health"
    reporting = ("metadatabase", "scheduler", "triggerer")
    login_path = None
    log_type = "text/plain"

    def run_body(self, moment: str | None, conf: Mapping[str, Any]) -> Record:
        return {"conf": dict(conf)} if moment is None else {"logical_date": moment, "conf": dict(conf)}

    def state_body(self, state: str) -> Record:
        return {**super().state_body(state), "dry_run": False}

    # Its API does not write down that a running task is to run again. The button does.
    api_clears = False

    def clear_forms(
        self, dag_id: str, logical_date: str, task_ids: Sequence[str | tuple[str, int]]
    ) -> Iterator[Record]:
        for task in task_ids:
            task_id, *map_index = (task,) if isinstance(task, str) else task
            form = {"dag_id": dag_id, "execution_date": logical_date, "task_id": task_id, "confirmed": "true"}
            yield form | ({"map_index": map_index[0]} if map_index else {})

    def pool_body(self, name: str, slots: int) -> Record:  # noqa: ARG002
        return {"slots": slots}

    def links(self, answer: Record) -> dict[str, str | None]:
        return answer

    def log_lines(self, answer: requests.Response) -> list[str]:
        return answer.text.splitlines()


def _log_line(entry: Record) -> str:
    """Return a structured log entry as text, exceptions with their traceback."""
    known = [str(entry[key]) for key in ("timestamp", "level", "event") if entry.get(key)]
    return " ".join(known) + "".join(map(_traceback, entry.get("error_detail") or ()))


def _traceback(error: Record) -> str:
    frames = "".join(
        f"\n  {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in error.get("frames", ())
    )
    return f"{frames}\n{error.get('exc_type')}: {error.get('exc_value')}"
