"""Find the job that this task instance has already started, or start it, once.

Kumo has no idempotency key; tags are the only handle. Every job carries a key made from the task instance and a
fingerprint of what was asked, and is looked up by the key before and after it is submitted.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.errors import (
    KumoAnswerError,
    KumoError,
    KumoJobAbandonedError,
    KumoSubmissionUnknownError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.jobs import TASK_KEY_TAG, Job, JobKind, JobStatus, cancel_tags
from airflow_provider_kumo.client.policy import Budgets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_kumo.client.logs import Log
    from airflow_provider_kumo.client.sync import KumoClient

REQUEST_TAG = "airflow_request"
TRY_TAG = "airflow_try"
DELIVERED_TAG = "airflow_delivered"

_LONGEST_TAG_VALUE = 256
# After an answer was lost, the job may show up in lists a little late.
_LOOKS_AFTER_LOST_ANSWER = 4
_PAUSE_BETWEEN_LOOKS = 3.0
_SUBMISSIONS = 3
_SIDE_NOTE_BUDGETS = Budgets(service=30.0, refused_key=0.0)
_NEW_JOB_BUDGETS = Budgets(missing=60.0)
# Airflow 3 kills a task's process five seconds after it was asked to end.
_LAST_SECONDS = 4.0
_LAST_BUDGETS = Budgets(service=2.0, refused_key=0.0)
_CONFIRM_SECONDS = 30.0
_CONFIRM_PAUSE = 2.0


@dataclass(frozen=True, kw_only=True)
class TaskKey:
    """A task instance, the same in all its tries: neither ``ti.id`` nor the try number takes part.

    :param nonce: makes the key that of one try alone.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    nonce: str = ""

    @classmethod
    def of(cls, context: Mapping[str, Any], *, durable: bool) -> TaskKey:
        """Return the key of the running task instance.

        :param durable: False makes a key that no other try shares, so that only the job of this one is ever found.
        """
        ti = context["ti"]
        nonce = "" if durable else uuid4().hex
        return cls(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index, nonce=nonce)

    @property
    def digest(self) -> str:
        """The key as the value of a tag."""
        return _sha256([self.dag_id, self.run_id, self.task_id, self.map_index, *([self.nonce] if self.nonce else [])])

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
class Attempt:
    """One try of a task instance, as Airflow counts them.

    :param number: of the try, from 1.
    :param tries: how many there may be. Airflow raises it when a task that does not run is cleared, also one that is
        deferred, and never else (``clear_task_instances``).
    """

    number: int = 1
    tries: int = 1

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> Attempt:
        """Return the running try."""
        ti = context["ti"]
        return cls(number=ti.try_number, tries=ti.max_tries + 1)

    @property
    def is_last(self) -> bool:
        """Whether no other try follows a failure."""
        return self.number >= self.tries

    def __str__(self) -> str:
        """Return what Airflow's log says, too."""
        return f"try {self.number} of {self.tries}"

    def awaits(self, job: Job) -> bool:
        """Tell whether nobody has a job's result.

        A try that is followed by another one has not succeeded: if it says that it took the result, it was killed
        before Airflow had it. Unless the task was cleared, after which a new job is wanted.
        """
        delivered = job.tags.get(DELIVERED_TAG)
        if delivered is None:
            return True
        told = _read_try(delivered)
        return told is not None and told.tries == self.tries and told.number < self.number

    def is_after_clear_of(self, job: Job) -> bool:
        """Tell whether the task was cleared while it was deferred: a new job is wanted, also if this one still runs."""
        started = _read_try(job.tags.get(TRY_TAG, ""))
        return started is not None and started.tries < self.tries


def _read_try(text: str) -> Attempt | None:
    told = re.search(r"try (\d+) of (\d+)$", text)
    return None if told is None else Attempt(number=int(told[1]), tries=int(told[2]))


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a task instance wants from Kumo.

    :param kind: which kind of job.
    :param key: the task instance.
    :param arguments: the rendered arguments that make the request what it is; two tries with equal arguments want
        the same job, even if "the newest model" has changed between them.
    :param build: makes the call that starts the job, given all tags; only called if a job must be started.
    :param attempt: the try that wants it.
    :param defers: whether the task is going to wait in the triggerer.
    """

    kind: JobKind
    key: TaskKey
    arguments: Mapping[str, Any]
    build: Callable[[Mapping[str, str]], calls.Call[str]]
    attempt: Attempt = Attempt()
    defers: bool = False

    @property
    def fingerprint(self) -> str:
        """A hash of what was asked."""
        return _sha256([self.kind, dict(self.arguments)])

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which the job is found again.

        The try tells that a task was cleared while it was deferred. One that waits on a worker is cleared in two ways
        that look the same: while it runs, when the worker cancels its job, and after its worker was lost, to go on with
        its job. So it does not say its try.
        """
        return {
            TASK_KEY_TAG: self.key.digest,
            REQUEST_TAG: self.fingerprint,
            **({TRY_TAG: str(self.attempt)} if self.defers else {}),
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


def decide(jobs: Sequence[Job], fingerprint: str, attempt: Attempt = Attempt()) -> Decision:
    """Decide between reattaching, adopting a result and starting anew. Pure.

    A live job with the same request is taken, the oldest if there are several. Without one, the newest DONE job
    whose result was never delivered is taken. Failed, cancelled, cancel-requested and delivered jobs never are; one
    that was to be cancelled but still lives is cancelled once more, and one that was delivered while it lives (by a
    task that does not wait) is left alone. One that lives since before the task was cleared is cancelled: its trigger
    may not do so any more when the next try is quick.

    :param jobs: all jobs that carry the task's key.
    :param fingerprint: of the request.
    :param attempt: the try that asks.
    """
    live = sorted((job for job in jobs if not job.is_terminal and attempt.awaits(job)), key=_birth)
    wanted = [
        job
        for job in live
        if job.tags.get(REQUEST_TAG) == fingerprint and not job.cancel_requested and not attempt.is_after_clear_of(job)
    ]
    if wanted:
        return Decision(
            take=wanted[0],
            cancel=tuple(job for job in live if job is not wanted[0]),
            why="it was started by an earlier try of this task",
        )
    undelivered = [
        job
        for job in jobs
        if job.status == JobStatus.DONE
        and job.tags.get(REQUEST_TAG) == fingerprint
        and attempt.awaits(job)
        and not job.cancel_requested
    ]
    if undelivered:
        return Decision(
            take=max(undelivered, key=_birth),
            cancel=tuple(live),
            why="an earlier try of this task started it, and nobody has taken its result yet",
        )
    return Decision(take=None, cancel=tuple(live), why=_why_anew(live, attempt))


def _why_anew(live: Sequence[Job], attempt: Attempt) -> str:
    unasked = [job for job in live if not job.cancel_requested]
    if not unasked:
        return ""
    if all(attempt.is_after_clear_of(job) for job in unasked):
        return "the task was cleared while its job ran"
    return "the request has changed since the earlier try"


class Submitter:
    """Brings one task instance to its one job.

    Holds what a signal handler needs to know of a submission that it interrupts.

    :param client: the worker's client.
    :param submission: what the task wants.
    :param durable: False starts a job without looking for an earlier one.
    :param log: of the task.
    """

    def __init__(self, client: KumoClient, submission: Submission, *, durable: bool, log: Log) -> None:
        self._client = client
        self._submission = submission
        self._durable = durable
        self._log = log
        # From the moment that a request is sent until its job is known, or is known not to exist.
        self._in_flight = False
        self.abandoned = False
        self.job: Job | None = None

    def find_or_submit(self) -> tuple[Job, bool]:
        """Return the one job of this task instance, and whether this call has started it.

        :raises KumoSubmissionUnknownError: answers to the submission were lost again and again, and no job is found.
        :raises KumoJobAbandonedError: :meth:`abandon` was called meanwhile.
        :raises KumoError: Kumo refuses, or stays unavailable.
        """
        self.job, started = self._find_or_submit()
        self._in_flight = False
        return self.job, started

    def abandon(self) -> None:
        """Cancel the job of a task that is being killed, also if its submission is not yet answered.

        May be called from a signal handler in the middle of :meth:`find_or_submit`: it uses a client of its own, and
        what it interrupts starts nothing afterwards.
        """
        self.abandoned = True
        with self._client.twin() as client:
            try:
                jobs = self._to_abandon(client)
            except KumoError as error:
                key = self._submission.key.digest
                self._log.warning("A job with the tag %s=%s may be running in Kumo: %s", TASK_KEY_TAG, key, error)
                return
            for job in jobs:
                cancel(client, job, log=self._log, budgets=_LAST_BUDGETS)

    def _to_abandon(self, client: KumoClient) -> list[Job]:
        if self.job is not None:
            return [self.job]
        deadline = time.monotonic() + _LAST_SECONDS
        while self._in_flight:
            # Kumo may create the job at any moment, or may have done so before it could answer.
            found = [job for job in self._jobs(client, _LAST_BUDGETS) if not job.is_terminal]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.3)
        return []

    def _find_or_submit(self) -> tuple[Job, bool]:
        if self._durable:
            found = self._take_existing()
            if found is not None:
                return found, False
        for _ in range(_SUBMISSIONS):
            try:
                job_id = self._submit()
            except KumoAnswerError as error:
                if not (isinstance(error, KumoUnavailableError) and error.reached):
                    raise
                self._log.warning("%s The job may have been started all the same; looking for it.", error)
                found = self._look_for_lost()
                if found is not None:
                    return found, True
            else:
                return self._read_new(job_id), True
        raise KumoSubmissionUnknownError(
            f"A {self._submission.kind.label} was submitted {_SUBMISSIONS} times, every answer was lost, and no job "
            f"with the tag {TASK_KEY_TAG}={self._submission.key.digest} is found."
        )

    def _submit(self) -> str:
        call = self._submission.build(self._submission.tags)
        self._stop_if_abandoned(None)
        self._in_flight = True
        try:
            job_id = self._client.send(call)
        except KumoAnswerError as error:
            self._in_flight = error.reached
            raise
        self._stop_if_abandoned(job_id)
        self.job = Job(id=job_id, kind=self._submission.kind, status=JobStatus.QUEUED)
        return job_id

    def _stop_if_abandoned(self, job_id: str | None) -> None:
        if not self.abandoned:
            return
        if job_id is not None:
            job = Job(id=job_id, kind=self._submission.kind, status=JobStatus.QUEUED)
            cancel(self._client, job, log=self._log, budgets=_LAST_BUDGETS)
        raise KumoJobAbandonedError("The task was killed while it started a job.", job_id=job_id or "none")

    def _take_existing(self) -> Job | None:
        decision, _ = self._settle()
        if decision.take is not None:
            job = decision.take
            where = job.tracking_url or "it in Kumo's UI"
            self._log.info("Going on with %s %s: %s. See %s", job.kind.label, job.id, decision.why, where)
        elif decision.why:
            self._log.warning("Starting anew: %s.", decision.why)
        return decision.take

    def _look_for_lost(self) -> Job | None:
        for look in range(_LOOKS_AFTER_LOST_ANSWER):
            if look > 0:
                time.sleep(_PAUSE_BETWEEN_LOOKS)
            self._stop_if_abandoned(None)
            found = self._take_existing()
            if found is not None:
                return found
        return None

    def _read_new(self, job_id: str) -> Job:
        """Read the new job by its key, which also shows whether another process has started one at the same time."""
        if self._durable:
            decision, jobs = self._settle()
            job = decision.take or next((job for job in jobs if job.id == job_id), None)
            if job is not None:
                return job
        return self._client.send(calls.get_job(self._submission.kind, job_id), budgets=_NEW_JOB_BUDGETS)

    def _settle(self) -> tuple[Decision, list[Job]]:
        """Look the task's jobs up, decide, and cancel those that nobody waits for."""
        jobs = self._jobs(self._client)
        decision = decide(jobs, self._submission.fingerprint, self._submission.attempt)
        for job in decision.cancel:
            self._log.warning("Cancelling %s %s: this task does not wait for it any more.", job.kind.label, job.id)
            cancel(self._client, job, log=self._log)
        return decision, jobs

    def _jobs(self, client: KumoClient, budgets: Budgets | None = None) -> list[Job]:
        digest = self._submission.key.digest
        jobs = client.send(calls.list_jobs(self._submission.kind, tags={TASK_KEY_TAG: digest}), budgets=budgets)
        # A server that does not know the filter returns everything.
        return [job for job in jobs if job.tags.get(TASK_KEY_TAG) == digest]


def mark_delivered(client: KumoClient, job: Job, *, log: Log, attempt: Attempt = Attempt()) -> None:
    """Write to the job which try has taken its result, so that a cleared task starts a new one."""
    told = f"{datetime.now(UTC).isoformat(timespec='seconds')}, {attempt}"
    _tag(client, job, {DELIVERED_TAG: told}, log, _SIDE_NOTE_BUDGETS)


def cancel(client: KumoClient, job: Job, *, log: Log, budgets: Budgets = _SIDE_NOTE_BUDGETS) -> bool:
    """Ask Kumo to cancel a job, then write to the job that it was asked. Failing to is told, not raised.

    In this order, because a process that is killed in between must leave no job running; the tag only tells the
    next try that it was not a person who cancelled.

    :param budgets: for how long to try each.
    :returns: whether Kumo has answered.
    """
    try:
        live = client.send(calls.cancel_job(job.kind, job.id), budgets=budgets)
    except KumoError as error:
        log.warning("%s may still be running in Kumo, see %s: %s", job.id, job.page, error)
        return False
    if live:
        log.info("Asked Kumo to cancel %s %s, see %s", job.kind.label, job.id, job.page)
        _tag(client, job, cancel_tags(), log, budgets)
    else:
        log.info("%s %s has already ended.", job.kind.label.capitalize(), job.id)
    return True


def cancel_and_confirm(client: KumoClient, job: Job, *, log: Log) -> Job:
    """Cancel a job and wait a little for its end, which may be DONE after all. Returns it as last seen."""
    asked = cancel(client, job, log=log)
    deadline = time.monotonic() + _CONFIRM_SECONDS
    while True:
        try:
            job = client.send(calls.get_job(job.kind, job.id), budgets=_SIDE_NOTE_BUDGETS)
        except KumoError as error:
            if asked:
                log.warning("%s may still be running in Kumo, see %s: %s", job.id, job.page, error)
            return job
        if job.is_terminal:
            return job
        if time.monotonic() > deadline:
            log.warning("%s has not ended yet after it was to be cancelled, see %s", job.id, job.page)
            return job
        time.sleep(_CONFIRM_PAUSE)


def _tag(client: KumoClient, job: Job, tags: Mapping[str, str], log: Log, budgets: Budgets) -> None:
    try:
        client.send(calls.update_tags(job.kind, job.id, tags), budgets=budgets)
    except KumoError as error:
        log.warning("Could not write %s to %s: %s", ", ".join(tags), job.id, error)


def _birth(job: Job) -> tuple[float, str]:
    return (job.created_at.timestamp() if job.created_at else 0.0, job.id)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
