"""Find the job that this task instance has already started, or start it, once.

Kumo has no idempotency key; tags are the only handle. Every job carries a key made from the task instance and a
fingerprint of what was asked, and is looked up by the key before and after it is submitted.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import (
    KumoAnswerError,
    KumoError,
    KumoSubmissionUnknownError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.jobs import Job, JobKind, JobStatus
from airflow_provider_kumo.client.policy import Budgets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_kumo.client.logs import Log
    from airflow_provider_kumo.client.sync import KumoClient

TASK_KEY_TAG = "airflow_task_key"
REQUEST_TAG = "airflow_request"
DELIVERED_TAG = "airflow_delivered"
CANCEL_TAG = "airflow_cancel_requested"

_LONGEST_TAG_VALUE = 256
# After an answer was lost, the job may show up in lists a little late.
_LOOKS_AFTER_LOST_ANSWER = 4
_PAUSE_BETWEEN_LOOKS = 3.0
_SUBMISSIONS = 3
_SIDE_NOTE_BUDGETS = Budgets(service=30.0, refused_key=0.0)
_NEW_JOB_BUDGETS = Budgets(missing=60.0)


@dataclass(frozen=True, kw_only=True)
class TaskKey:
    """A task instance, the same in all its tries: neither ``ti.id`` nor the try number takes part."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> TaskKey:
        """Return the key of the running task instance."""
        ti = context["ti"]
        return cls(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index)

    @property
    def digest(self) -> str:
        """The key as the value of a tag."""
        return _sha256([self.dag_id, self.run_id, self.task_id, self.map_index])

    def readable_tags(self) -> dict[str, str]:
        """Return tags by which a person finds the task in Kumo's list of jobs."""
        tags = {
            "airflow_dag_id": self.dag_id,
            "airflow_run_id": self.run_id,
            "airflow_task_id": self.task_id,
        }
        if self.map_index >= 0:
            tags["airflow_map_index"] = str(self.map_index)
        return {key: value[:_LONGEST_TAG_VALUE] for key, value in tags.items()}


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a task instance wants from Kumo.

    :param kind: which kind of job.
    :param key: the task instance.
    :param arguments: the rendered arguments that make the request what it is; two tries with equal arguments want
        the same job, even if "the newest model" has changed between them.
    :param build: makes the call that starts the job, given all tags; only called if a job must be started.
    """

    kind: JobKind
    key: TaskKey
    arguments: Mapping[str, Any]
    build: Callable[[Mapping[str, str]], calls.Call[str]]

    @property
    def fingerprint(self) -> str:
        """A hash of what was asked."""
        return _sha256([self.kind, dict(self.arguments)])

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which the job is found again."""
        return {
            TASK_KEY_TAG: self.key.digest,
            REQUEST_TAG: self.fingerprint,
            **self.key.readable_tags(),
        }


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, given the jobs that carry the task's key.

    :param take: the job to go on with, or None to start one.
    :param cancel: live jobs that nobody waits for.
    :param why: a phrase for the log, empty if there is nothing to tell.
    """

    take: Job | None
    cancel: tuple[Job, ...] = ()
    why: str = ""


def decide(jobs: Sequence[Job], fingerprint: str) -> Decision:
    """Decide between reattaching, adopting a result and starting anew. Pure.

    A live job with the same request is taken, the oldest if there are several. Without one, the newest DONE job
    whose result was never delivered is taken. Failed, cancelled, cancel-requested and delivered jobs never are.

    :param jobs: all jobs that carry the task's key.
    :param fingerprint: of the request.
    """
    live = sorted((job for job in jobs if not job.is_terminal and CANCEL_TAG not in job.tags), key=_birth)
    same = [job for job in live if job.tags.get(REQUEST_TAG) == fingerprint]
    if same:
        return Decision(
            take=same[0],
            cancel=tuple(job for job in live if job is not same[0]),
            why="it was started by an earlier try of this task",
        )
    undelivered = [
        job
        for job in jobs
        if job.status == JobStatus.DONE
        and job.tags.get(REQUEST_TAG) == fingerprint
        and DELIVERED_TAG not in job.tags
        and CANCEL_TAG not in job.tags
    ]
    if undelivered:
        return Decision(
            take=max(undelivered, key=_birth),
            cancel=tuple(live),
            why="an earlier try of this task started it, and nobody has taken its result yet",
        )
    return Decision(take=None, cancel=tuple(live), why="the request has changed since the earlier try" if live else "")


def find_or_submit(client: KumoClient, submission: Submission, *, durable: bool, log: Log) -> tuple[Job, bool]:
    """Return the one job of this task instance, and whether this call has started it.

    :param durable: False starts a job without looking for an earlier one.
    :raises KumoSubmissionUnknownError: answers to the submission were lost again and again, and no job is found.
    :raises KumoError: Kumo refuses, or stays unavailable.
    """
    if durable:
        found = _take_existing(client, submission, log)
        if found is not None:
            return found, False
    for _ in range(_SUBMISSIONS):
        try:
            job_id = client.send(submission.build(submission.tags))
        except KumoAnswerError as error:
            if not (isinstance(error, KumoUnavailableError) and error.reached):
                raise
            log.warning("%s The job may have been started all the same; looking for it.", error)
            found = _look_for_lost(client, submission, log)
            if found is not None:
                return found, True
        else:
            return _read_new(client, submission, job_id, durable=durable, log=log), True
    raise KumoSubmissionUnknownError(
        f"A {submission.kind.label} was submitted {_SUBMISSIONS} times, every answer was lost, and no job with the tag "
        f"{TASK_KEY_TAG}={submission.key.digest} is found."
    )


def mark_delivered(client: KumoClient, job: Job, *, log: Log) -> None:
    """Write to the job that its result has reached the task, so that a cleared task starts a new one."""
    _tag(client, job, {DELIVERED_TAG: datetime.now(UTC).isoformat(timespec="seconds")}, log)


def cancel(client: KumoClient, job: Job, *, log: Log, budgets: Budgets = _SIDE_NOTE_BUDGETS) -> None:
    """Ask Kumo to cancel a job, and write to the job that it was asked. Failing to is told, not raised.

    :param budgets: for how long to try.
    """
    _tag(client, job, {CANCEL_TAG: datetime.now(UTC).isoformat(timespec="seconds")}, log, budgets)
    try:
        if client.send(calls.cancel_job(job.kind, job.id), budgets=budgets):
            log.info("Asked Kumo to cancel %s %s.", job.kind.label, job.id)
        else:
            log.info("%s %s has already ended.", job.kind.label.capitalize(), job.id)
    except KumoError as error:
        log.warning("%s may still be running in Kumo, see %s: %s", job.id, job.tracking_url or "its page", error)


def _take_existing(client: KumoClient, submission: Submission, log: Log) -> Job | None:
    decision, _ = _settle(client, submission, log)
    if decision.take is not None:
        log.info("Going on with %s %s: %s.", decision.take.kind.label, decision.take.id, decision.why)
    elif decision.cancel:
        log.warning("Starting anew: %s.", decision.why)
    return decision.take


def _look_for_lost(client: KumoClient, submission: Submission, log: Log) -> Job | None:
    for look in range(_LOOKS_AFTER_LOST_ANSWER):
        if look > 0:
            time.sleep(_PAUSE_BETWEEN_LOOKS)
        found = _take_existing(client, submission, log)
        if found is not None:
            return found
    return None


def _read_new(client: KumoClient, submission: Submission, job_id: str, *, durable: bool, log: Log) -> Job:
    """Read the new job by its key, which also shows whether another process has started one at the same time."""
    if durable:
        decision, jobs = _settle(client, submission, log)
        job = decision.take or next((job for job in jobs if job.id == job_id), None)
        if job is not None:
            return job
    return client.send(calls.get_job(submission.kind, job_id), budgets=_NEW_JOB_BUDGETS)


def _settle(client: KumoClient, submission: Submission, log: Log) -> tuple[Decision, list[Job]]:
    """Look the task's jobs up, decide, and cancel those that nobody waits for."""
    jobs = _jobs_of(client, submission)
    decision = decide(jobs, submission.fingerprint)
    for job in decision.cancel:
        log.warning("Cancelling %s %s: this task does not wait for it any more.", job.kind.label, job.id)
        cancel(client, job, log=log)
    return decision, jobs


def _jobs_of(client: KumoClient, submission: Submission) -> list[Job]:
    digest = submission.key.digest
    jobs = client.send(calls.list_jobs(submission.kind, tags={TASK_KEY_TAG: digest}))
    # A server that does not know the filter returns everything.
    return [job for job in jobs if job.tags.get(TASK_KEY_TAG) == digest]


def _tag(
    client: KumoClient, job: Job, tags: Mapping[str, str], log: Log, budgets: Budgets = _SIDE_NOTE_BUDGETS
) -> None:
    try:
        client.send(calls.update_tags(job.kind, job.id, tags), budgets=budgets)
    except KumoError as error:
        log.warning("Could not write %s to %s: %s", ", ".join(tags), job.id, error)


def _birth(job: Job) -> tuple[float, str]:
    return (job.created_at.timestamp() if job.created_at else 0.0, job.id)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
