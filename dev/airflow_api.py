"""The part of Airflow's REST API that the demo and the tests use."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dev.airflow_release import Record, Release

NOW: Final = "now"
FINISHED_RUN: Final = frozenset({"success", "failed"})


class AirflowError(Exception):
    """Airflow does not run, does not answer, or does not do what it was asked."""


class AirflowApi:
    """Airflow's REST API at one origin.

    :param origin: such as ``http://127.0.0.1:8080``.
    :param release: which Airflow it is.
    """

    def __init__(self, origin: str, release: Release) -> None:
        self.origin = origin
        self.release = release
        self._session = requests.Session()
        # Proxy variables and .netrc are not for loopback.
        self._session.trust_env = False
        self._token_until = 0.0

    # Airflow as a whole

    def healthy(self) -> bool:
        """Tell whether every component has reported to the database lately; raises while the server is away."""
        answer = self._get(self.release.health_path)
        return all(answer.get(part, {}).get("status") == "healthy" for part in self.release.reporting)

    def dag_ids(self) -> set[str]:
        """Return the DAGs that have been parsed and can run."""
        return {dag["dag_id"] for dag in self._get("dags", limit=100)["dags"]}

    def import_errors(self) -> dict[str, str]:
        """Return the stack trace of each file that cannot be imported."""
        found = self._get("importErrors", limit=100)["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    # Runs

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, logical_date: datetime | str | None = NOW
    ) -> str:
        """Start a run and return its id.

        :param dag_id: the DAG.
        :param conf: overrides params.
        :param logical_date: ``None`` makes ``ds`` and ``ts`` undefined in templates, so the default is now.
        """
        when = datetime.now(UTC) if logical_date == NOW else logical_date
        moment = when.isoformat() if isinstance(when, datetime) else when
        run = self._send("POST", f"dags/{_q(dag_id)}/dagRuns", self.release.run_body(moment, conf or {}))
        return str(run["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> Record:
        """Return a run."""
        found: Record = self._get(_run(dag_id, run_id))
        return found

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.run(dag_id, run_id)["state"])

    def wait_for_run(self, dag_id: str, run_id: str, *, seconds: float = 120) -> str:
        """Wait until a run has finished and return its state."""
        deadline = time.monotonic() + seconds
        while (state := self.run_state(dag_id, run_id)) not in FINISHED_RUN:
            if time.monotonic() > deadline:
                tasks = {task["task_id"]: task["state"] for task in self.task_instances(dag_id, run_id)}
                raise AirflowError(f"{dag_id} {run_id} is still {state} after {seconds:g} s; tasks: {tasks}")
            time.sleep(0.5)
        return state

    # Task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[Record]:
        """Return the task instances of a run, mapped ones each."""
        found: list[Record] = self._get(f"{_run(dag_id, run_id)}/taskInstances", limit=100)["task_instances"]
        return found

    def task_state(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str | None:
        """Return the state of a task instance; ``None`` before it is scheduled."""
        state: str | None = self._get(_task(dag_id, run_id, task_id, map_index))["state"]
        return state

    def wait_for_task(
        self, dag_id: str, run_id: str, task_id: str, *states: str, map_index: int = -1, seconds: float = 60
    ) -> str:
        """Wait until a task instance is in one of these states and return which."""
        deadline = time.monotonic() + seconds
        while (state := self.task_state(dag_id, run_id, task_id, map_index)) not in states:
            if time.monotonic() > deadline:
                raise AirflowError(f"{task_id} of {run_id} is {state} after {seconds:g} s, not one of {states}")
            time.sleep(0.3)
        return str(state)

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any | None:
        """Return what a task pushed under a key; ``None`` if nothing yet."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/xcomEntries/{_q(key)}"
        answer = self._request("GET", path, params={"map_index": map_index, "stringify": False})
        return None if answer.status_code == 404 else self._body(answer)["value"]

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int | None = None, map_index: int = -1
    ) -> str:
        """Return the log of a task instance, the triggerer's part included; by default of its latest try."""
        if try_number is None:
            try_number = int(self._get(_task(dag_id, run_id, task_id, map_index))["try_number"]) or 1
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/logs/{try_number}"
        params = {"map_index": map_index, "full_content": True}
        answer = self._request("GET", path, params=params, headers={"Accept": self.release.log_type})
        self._check(answer)
        return "\n".join(self.release.log_lines(answer))

    def links(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str | None]:
        """Return the extra links of a task instance."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/links"
        return self.release.links(self._get(path, map_index=map_index))

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task instance ``failed`` or ``success``, as the buttons do."""
        self._send("PATCH", _task(dag_id, run_id, task_id, map_index), self.release.state_body(state))

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str | tuple[str, int]]) -> None:
        """Clear task instances, as the button does, whatever their state: they run again."""
        if self.release.api_clears:
            self._send("POST", f"dags/{_q(dag_id)}/clearTaskInstances", self.release.clear_body(run_id, task_ids))
            return
        logical_date = self._get(_run(dag_id, run_id))["logical_date"]
        for form in self.release.clear_forms(dag_id, logical_date, task_ids):
            self._check(self._request("POST", f"{self.origin}/clear", data=form))

    def set_pool(self, name: str, slots: int) -> None:
        """Make a pool, or give it another size."""
        known = {pool["name"] for pool in self._get("pools", limit=100)["pools"]}
        if name in known:
            mask = {"update_mask": "slots"}
            body = self.release.pool_body(name, slots)
            self._check(self._request("PATCH", f"pools/{_q(name)}", json=body, params=mask))
        else:
            self._send("POST", "pools", {"name": name, "slots": slots})

    # HTTP

    def request(self, method: str, path: str, **keywords: Any) -> Any:
        """Call anything else of the API and return its JSON."""
        return self._body(self._request(method, path, **keywords))

    def _get(self, path: str, **params: Any) -> Any:
        return self._body(self._request("GET", path, params=params))

    def _send(self, method: str, path: str, body: Record) -> Any:
        return self._body(self._request(method, path, json=body))

    def _request(self, method: str, path: str, **keywords: Any) -> requests.Response:
        try:
            self._authenticate()
            url = path if path.startswith(self.origin) else f"{self.origin}{self.release.api_prefix}/{path}"
            headers = {"Accept": "application/json", **keywords.pop("headers", {})}
            return self._session.request(method, url, timeout=30, headers=headers, **keywords)
        except requests.RequestException as error:
            raise AirflowError(f"Airflow's API does not answer at {self.origin}: {error}") from error

    def _authenticate(self) -> None:
        if self.release.login_path is None or time.monotonic() < self._token_until:
            return
        answer = self._session.get(f"{self.origin}{self.release.login_path}", timeout=30)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        self._token_until = time.monotonic() + 600

    @classmethod
    def _body(cls, answer: requests.Response) -> Any:
        cls._check(answer)
        return answer.json() if answer.content else None

    @staticmethod
    def _check(answer: requests.Response) -> None:
        if not answer.ok:
            request = answer.request
            raise AirflowError(f"{request.method} {request.url} -> {answer.status_code}: {answer.text[:2000]}")


def _q(part: str) -> str:
    return quote(part, safe="")


def _run(dag_id: str, run_id: str) -> str:
    return f"dags/{_q(dag_id)}/dagRuns/{_q(run_id)}"


def _task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}"
    return path if map_index < 0 else f"{path}/{map_index}"
