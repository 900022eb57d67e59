"""Whatever becomes of a task instance's processes and of its jobs, in any order: one job, no loss, nothing left."""

from __future__ import annotations

import logging
import time
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_kumo import submission as submission_module
from airflow_provider_kumo.client import calls, sync
from airflow_provider_kumo.client.config import KumoConfig
from airflow_provider_kumo.client.errors import KumoSubmissionUnknownError
from airflow_provider_kumo.client.jobs import JobKind
from airflow_provider_kumo.client.requests import training_request
from airflow_provider_kumo.client.sync import KumoClient
from airflow_provider_kumo.submission import (
    DELIVERED_TAG,
    REQUEST_TAG,
    TASK_KEY_TAG,
    Attempt,
    Submission,
    Submitter,
    TaskKey,
    cancel,
    mark_delivered,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_kumo.client.calls import Call
    from airflow_provider_kumo.client.policy import Budgets
    from airflow_provider_kumo.emulator.control import SeenJob
    from airflow_provider_kumo.emulator.local import LocalKumo

LOG = logging.getLogger(__name__)
ENDED = {"DONE", "FAILED", "CANCELLED"}
RETRIES = 3
_numbers = count()


class Killed(BaseException):
    """The process is gone."""


class Mortal(KumoClient):
    """A client whose process is killed at one of its requests.

    :param at: at which, from 0; None for never.
    :param answered: whether Kumo has got that request, and answered.
    """

    def __init__(self, config: KumoConfig, *, at: int | None = None, answered: bool = False) -> None:
        super().__init__(lambda: config, log=LOG)
        self._left = at
        self._answered = answered

    def send(self, call: Call[Any], *, budgets: Budgets | None = None) -> Any:
        dies = self._left == 0
        self._left = None if self._left is None else self._left - 1
        if dies and not self._answered:
            raise Killed
        result = super().send(call, budgets=budgets)
        if dies:
            raise Killed
        return result


DEATHS = st.fixed_dictionaries({"at": st.none() | st.integers(0, 7), "answered": st.booleans()})


class TaskInstance(RuleBasedStateMachine):
    """One task instance with a few retries that is cleared now and then, its processes, and its jobs."""

    kumo: LocalKumo
    config: KumoConfig

    def __init__(self) -> None:
        super().__init__()
        self.key = TaskKey(dag_id="d", run_id=f"run {next(_numbers)}", task_id="t", map_index=-1)
        self.number, self.tries = 1, 1 + RETRIES
        self.request = 0
        # The job that the running process has come to; None between two processes.
        self.has: str | None = None
        # No process of this task instance will run until somebody clears it.
        self.over = False
        self.ended_well = False
        # The jobs whose results Airflow has, or had no use for.
        self.taken: set[str] = set()
        # Since a rival process was at work, no process has settled which job is kept.
        self.unsettled = False

    # -- what is there -------------------------------------------------------------------------

    @property
    def attempt(self) -> Attempt:
        return Attempt(number=self.number, tries=self.tries)

    @property
    def jobs(self) -> list[SeenJob]:
        digest = self.key.digest
        return [job for job in self.kumo.jobs("training") if job.tags.get(TASK_KEY_TAG) == digest]

    @property
    def live(self) -> list[SeenJob]:
        return [job for job in self.jobs if job.status not in ENDED and job.cancelled_by is None and not job.vanished]

    def wanted(self, *, rival: bool = False) -> Submission:
        arguments: dict[str, Any] = {"pquery_id": "churn_30d"}
        if self.request:
            arguments["model_plan"] = {"training_job": {"num_experiments": self.request}}

        def build(tags: Mapping[str, str]) -> Call[str]:
            if rival:
                with Mortal(self.config) as client:
                    Submitter(client, self.wanted(), durable=True, log=LOG).find_or_submit()
            return calls.create_training_job({**training_request(**arguments), "job_tags": dict(tags)})

        return Submission(kind=JobKind.TRAINING, key=self.key, arguments=arguments, build=build, attempt=self.attempt)

    # -- what happens --------------------------------------------------------------------------

    @precondition(lambda self: self.has is None and not self.over)
    @rule(
        death=DEATHS,
        fault=st.sampled_from([None, None, None, "drop_after", "drop_before", "cut_json", "html"]),
        rival=st.sampled_from([False, False, False, True]),
    )
    def a_process_starts(self, death: dict[str, Any], fault: str | None, rival: bool) -> None:
        wanted = self.wanted(rival=rival)
        usable = self._usable(wanted.fingerprint)
        before = {job.id for job in self.jobs}
        if fault is not None:
            self.kumo.inject(fault, method="POST", path="training_jobs$")
        self.unsettled = self.unsettled or rival
        try:
            with Mortal(self.config, **death) as client:
                job, _ = Submitter(client, wanted, durable=True, log=LOG).find_or_submit()
        except (Killed, KumoSubmissionUnknownError):
            self._next_try()
            return
        finally:
            self.kumo.clear_faults()
        self.unsettled = False
        self.has = job.id
        assert job.tags[REQUEST_TAG] == wanted.fingerprint
        if usable:
            assert job.id in usable
        else:
            assert job.id not in before
        assert [found.id for found in self.live] == ([] if job.status == "DONE" else [job.id])

    def _usable(self, fingerprint: str) -> set[str]:
        """Return the jobs one of which must be taken: a live one, else one whose result Airflow never had."""
        same = [job for job in self.jobs if job.tags.get(REQUEST_TAG) == fingerprint and not job.vanished]
        # By id: between two looks a job may have begun to run.
        live = {job.id for job in same} & {job.id for job in self.live}
        undelivered = {job.id for job in same if job.status == "DONE" and job.cancelled_by is None}
        return live or undelivered - self.taken

    def _next_try(self) -> None:
        self.has = None
        if self.number == self.tries:
            self.over = True
        else:
            self.number += 1

    @precondition(lambda self: self.has is not None)
    @rule()
    def the_process_is_killed(self) -> None:
        self._next_try()

    @precondition(lambda self: self.has is not None and self.kumo.job(self.has).status not in ENDED)
    @rule()
    def the_process_is_terminated(self) -> None:
        with Mortal(self.config) as client:
            cancel(client, self._seen(client), log=LOG)
        self._next_try()

    @precondition(lambda self: bool(self.live))
    @rule(how=st.sampled_from(["finish", "finish", "fail", "cancel", "vanish"]))
    def the_job_ends(self, how: str) -> None:
        job = self.live[0]
        getattr(self.kumo, how)(job.id)
        if job.id == self.has and how != "finish":
            self._next_try()

    @precondition(lambda self: self.has is not None and self.kumo.job(self.has).status == "DONE")
    @rule(airflow_has_it=st.sampled_from([True, True, False]))
    def the_result_is_taken(self, airflow_has_it: bool) -> None:
        with Mortal(self.config) as client:
            mark_delivered(client, self._seen(client), log=LOG, attempt=self.attempt)
        if airflow_has_it:
            self.taken.add(str(self.has))
            self.has, self.over, self.ended_well = None, True, True
        else:
            self._next_try()

    @precondition(lambda self: self.over)
    @rule()
    def it_is_cleared(self) -> None:
        # As Airflow does: as many retries again, counted from the try that has ended.
        self.tries = self.number + 1 + RETRIES
        # From here on, what Kumo was told of looks the same whether Airflow had it or not: a new job is wanted.
        self.taken |= {job.id for job in self.jobs if DELIVERED_TAG in job.tags}
        self.number += 1
        self.over = self.ended_well = False

    @precondition(lambda self: self.has is None)
    @rule(request=st.integers(0, 1))
    def its_arguments_change(self, request: int) -> None:
        self.request = request

    def _seen(self, client: KumoClient) -> Any:
        return client.send(calls.get_job(JobKind.TRAINING, str(self.has)))

    # -- what must be true ---------------------------------------------------------------------

    @invariant()
    def no_two_jobs_run(self) -> None:
        assert self.unsettled or len(self.live) <= 1

    @invariant()
    def nothing_runs_for_a_task_that_has_ended_well(self) -> None:
        assert not (self.ended_well and self.live)

    def teardown(self) -> None:
        for job in self.live:
            self.kumo.cancel(job.id)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses pass at once."""
    taken: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(taken), sleep=taken.append, time=time.time)
    for module in (sync, submission_module):
        monkeypatch.setattr(module, "time", clock)


@pytest.mark.kumo_emulator(speed=50_000)
@pytest.mark.usefixtures("no_pauses")
def test_in_any_history_one_job_runs_and_no_result_is_lost(kumo_emulator: LocalKumo) -> None:
    kumo_emulator.hold(kind="training")
    machine = type(
        "History",
        (TaskInstance,),
        {"kumo": kumo_emulator, "config": KumoConfig(base_url=kumo_emulator.url, secret=kumo_emulator.api_key)},
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # Shrinking takes minutes: add Phase.shrink to hunt a failure.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
