"""The second process of a task instance: all of a submission, and nothing that Airflow hears of."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.config import config_from_connection
from airflow_provider_kumo.client.jobs import JobKind
from airflow_provider_kumo.client.sync import KumoClient
from airflow_provider_kumo.submission import Submission, Submitter, TaskKey
from tests.faults import gates
from tests.faults.gates import Gates

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The try under which it passes its gate.
TRY = 1001


def main(race: Mapping[str, Any]) -> None:
    """Submit what the task submits.

    :param race: ``connection``, ``key``, ``arguments``, ``body`` and ``gates``, all from the task itself.
    """
    config = config_from_connection(conn_id="race", port=None, schema=None, **race["connection"])
    passed = Gates(Path(race["gates"]), gates.BEFORE_POST, (TRY,))

    def build(tags: Mapping[str, str]) -> calls.Call[str]:
        passed.leave(gates.BEFORE_POST, TRY)
        return calls.create_training_job({**race["body"], "job_tags": dict(tags)})

    submission = Submission(kind=JobKind.TRAINING, key=TaskKey(**race["key"]), arguments=race["arguments"], build=build)
    log = logging.getLogger(__name__)
    with KumoClient(lambda: config, log=log) as client:
        Submitter(client, submission, durable=True, log=log).find_or_submit()


if __name__ == "__main__":
    main(json.load(sys.stdin))
