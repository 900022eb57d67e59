"""A server on loopback that answers status reads after a fixed latency: Kumo's, and those of the peers.

It speaks just enough HTTP/1.1 to keep connections alive, so that one core answers far more than any client here asks.
Run as ``python -m benchmarks.server``; it prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import ClassVar

LATENCY = 0.020
COUNTS = "/_counts"

_JOB = {
    "job_id": "trainingjob-3e891bf96abc6e4d",
    "job_status_report": {
        "status": "RUNNING",
        "tracking_url": "http://127.0.0.1/jobs/trainingjob-3e891bf96abc6e4d",
        "start_time": "2026-01-01T02:00:05.716426Z",
        "end_time": None,
        "event_log": [
            {
                "stage_name": "Data Ingestion",
                "last_updated_at": "2026-01-01T02:00:05.716426Z",
                "detail": "Ingesting 3 tables",
            },
            {
                "stage_name": "Training",
                "last_updated_at": "2026-01-01T02:20:05.716426Z",
                "detail": "Experiment 2 of 8",
            },
        ],
        "validation_response": None,
    },
    "created_at": "2026-01-01T02:00:00.266426Z",
    "tags": {
        "airflow_task_key": "8d0e0d9b2c40ac5a1c3e3c37c6f5b1d0a0a6e0bd7c1f5be1b2f0c0a1d2e3f405",
        "airflow_request": "0b1c2d3e4f5061728394a5b6c7d8e9f00b1c2d3e4f5061728394a5b6c7d8e9f0",
        "airflow_dag_id": "nightly",
        "airflow_run_id": "scheduled__2026-01-01T02:00:00+00:00",
        "airflow_task_id": "retrain",
        "pquery_name": "churn_30d",
        "pquery_id": "pquery-churn-30d",
    },
    "project_id": None,
    # The plan as Kumo sends it back: "???" means that the server decides.
    "config": {
        "pquery_id": "churn_30d",
        "job_tags": {},
        "model_plan": {
            "training_job": {"num_experiments": 8, "metrics": "???", "tune_metric": "???"},
            "column_processing": {"encoder_overrides": "???"},
            "neighbor_sampling": {"max_target_neighbors_per_entity": "???", "num_neighbors": "???"},
            "optimization": dict.fromkeys(
                (
                    "max_epochs",
                    "max_steps_per_epoch",
                    "max_val_steps",
                    "max_test_steps",
                    "loss",
                    "base_lr",
                    "weight_decay",
                    "batch_size",
                    "early_stopping",
                    "lr_scheduler",
                    "majority_sampling_ratio",
                    "weight_mode",
                ),
                "???",
            ),
            "model_architecture": dict.fromkeys(
                (
                    "channels",
                    "num_pre_message_passing_layers",
                    "num_post_message_passing_layers",
                    "aggregation",
                    "activation",
                    "normalization",
                    "module",
                    "handle_new_target_entities",
                    "target_embedding_mode",
                    "output_activation",
                ),
                "???",
            ),
        },
        "graph_snapshot_id": None,
        "train_table_job_id": "gentraintablejob-2fd3d1d1b7a1",
        "custom_train_table": None,
        "warm_start_job_id": None,
        "enable_baselines": None,
    },
    "result": None,
}
_PROGRESS = {
    "start_time": "2026-01-01T02:20:05.716426Z",
    "total_trials": 8,
    "completed_trials": 1,
    "elapsed_training_time": 1800.0,
    "estimated_training_time": 7200.0,
    "trial_progress": {},
}
_DATABRICKS = {
    "job_id": 11223344,
    "run_id": 455644833,
    "number_in_job": 455644833,
    "original_attempt_run_id": 455644833,
    "state": {"life_cycle_state": "RUNNING", "state_message": "In run", "user_cancelled_or_timedout": False},
    "schedule": {"quartz_cron_expression": "20 30 * * * ?", "timezone_id": "Europe/London", "pause_status": "PAUSED"},
    "start_time": 1625060460483,
    "setup_duration": 0,
    "execution_duration": 0,
    "cleanup_duration": 0,
    "trigger": "PERIODIC",
    "creator_user_name": "someone@example.com",
    "run_name": "A multitask job run",
    "run_page_url": "https://example.com/#job/11223344/run/455644833",
    "run_type": "JOB_RUN",
    "tasks": [],
    "format": "MULTI_TASK",
}
_DBT = {
    "status": {"code": 200, "is_success": True, "user_message": "Success!", "developer_message": ""},
    "data": {
        "id": 5555,
        "trigger_id": 777,
        "account_id": 1,
        "environment_id": 10,
        "project_id": 100,
        "job_definition_id": 4444,
        "status": 3,
        "status_humanized": "Running",
        "in_progress": True,
        "is_complete": False,
        "is_success": False,
        "is_error": False,
        "is_cancelled": False,
        "created_at": "2026-01-01 02:00:00.000000+00:00",
        "started_at": "2026-01-01 02:00:05.000000+00:00",
        "finished_at": None,
        "duration": "00:10:00",
        "href": "https://cloud.example.com/#/accounts/1/projects/100/runs/5555/",
    },
}
_FIVETRAN = {
    "code": "Success",
    "data": {
        "id": "iodize_impressive",
        "group_id": "projected_sickle",
        "service": "salesforce",
        "service_version": 1,
        "schema": "salesforce",
        "paused": False,
        "sync_frequency": 360,
        "schedule_type": "manual",
        "created_at": "2024-01-01T02:00:00.000000Z",
        "succeeded_at": "2024-03-01T02:00:00.000000Z",
        "failed_at": None,
        "status": {
            "setup_state": "connected",
            "sync_state": "syncing",
            "update_state": "on_schedule",
            "is_historical_sync": False,
            "tasks": [],
            "warnings": [],
        },
    },
}
_AIRBYTE = {
    "jobId": 9999,
    "status": "running",
    "jobType": "sync",
    "startTime": "2026-01-01T02:00:00Z",
    "connectionId": "9924bcd0-99be-453d-ba47-c2c9766f7da5",
    "lastUpdatedAt": "2026-01-01T02:10:00Z",
    "duration": "PT10M",
    "bytesSynced": 1024,
    "rowsSynced": 10,
}

#: What a path that holds the text is answered with, and under which name it is counted; the first that fits.
_ANSWERS = {
    "/progress": ("progress", _PROGRESS),
    "/v1/training_jobs/": ("polls", _JOB),
    "/jobs/runs/get": ("polls", _DATABRICKS),
    "/runs/": ("polls", _DBT),
    "/v1/connect": ("polls", _FIVETRAN),
    "/token": ("tokens", {"access_token": "t" * 64, "token_type": "Bearer", "expires_in": 3600}),
    "/jobs/": ("polls", _AIRBYTE),
}


def _bytes(body: object) -> bytes:
    content = json.dumps(body, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class _Door(asyncio.Protocol):
    """One connection."""

    prepared = tuple((part.encode(), name, _bytes(body)) for part, (name, body) in _ANSWERS.items())
    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.counts["connections"] += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, rest = self._buffer[:end], self._buffer[end + 4 :]
            length = _content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        if path == COUNTS.encode():
            self._write(_bytes(self.counts))
            return
        for part, name, answer in self.prepared:
            if part in path:
                self.counts[name] += 1
                self._loop.call_later(LATENCY, self._write, answer)
                return
        self.counts["unknown"] += 1
        sys.stderr.write(f"no answer for {path!r}\n")
        self._write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Door, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
