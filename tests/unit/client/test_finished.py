"""Which trainings are news, as one process tells them and as the next goes on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_kumo.client.finished import NewModels, next_limit
from airflow_provider_kumo.client.jobs import Job, JobKind

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def training(job_id: str, *, ended: timedelta, **fields: Any) -> Job:
    """Return a training that ended so long after NOW."""
    common = {"kind": JobKind.TRAINING, "status": "DONE", "pquery_id": "churn", "created_at": NOW + ended - HOUR}
    return Job(id=job_id, ended_at=NOW + ended, **{**common, **fields})


def told(models: NewModels, jobs: list[Job]) -> list[str]:
    found = models.news(jobs)
    for job in found:
        models.mark_told(job)
    return [job.id for job in found]


def test_old_trainings_are_never_told_and_new_ones_once_in_the_order_of_their_ends() -> None:
    models = NewModels.resume("churn", None, now=NOW)
    jobs = [training("b", ended=2 * HOUR), training("old", ended=-HOUR), training("a", ended=HOUR)]
    assert told(models, jobs) == ["a", "b"]
    assert told(models, jobs) == []
    # One that was created before all of them and takes long.
    late = training("late", ended=3 * HOUR, created_at=NOW - 40 * HOUR)
    assert told(models, [*jobs, late]) == ["late"]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "FAILED"},
        {"status": "RUNNING"},
        {"pquery_id": "ltv"},
        {"pquery_id": None},
        {"kind": JobKind.PREDICTION},
    ],
)
def test_only_good_ends_of_its_own_query_are_told(fields: dict[str, Any]) -> None:
    models = NewModels.resume("churn", None, now=NOW)
    assert told(models, [training("a", ended=HOUR, **fields)]) == []


def test_a_query_is_known_by_its_name_too() -> None:
    models = NewModels.resume("churn", None, now=NOW)
    job = training("a", ended=HOUR, pquery_id="pquery-1", tags={"pquery_name": "churn"})
    assert told(models, [job]) == ["a"]


def test_another_process_goes_on_where_the_first_was() -> None:
    first = NewModels.resume("churn", None, now=NOW)
    assert told(first, [training("a", ended=HOUR)]) == ["a"]
    kept = json.loads(json.dumps(first.state()))
    jobs = [training("a", ended=HOUR), training("while down", ended=2 * HOUR)]
    assert told(NewModels.resume("churn", kept, now=NOW + 3 * HOUR), jobs) == ["while down"]


def test_what_ended_more_than_a_day_before_the_restart_is_old() -> None:
    kept = NewModels.resume("churn", None, now=NOW).state()
    jobs = [training("long ago", ended=HOUR), training("lately", ended=40 * HOUR)]
    assert told(NewModels.resume("churn", kept, now=NOW + 48 * HOUR), jobs) == ["lately"]


@pytest.mark.parametrize("state", [None, [], "?", {}, {"since": "?", "told": 3}, {"since": None, "told": {"a": "?"}}])
def test_a_state_that_cannot_be_read_is_a_first_start(state: Any) -> None:
    models = NewModels.resume("churn", state, now=NOW)
    assert told(models, [training("old", ended=-HOUR), training("new", ended=HOUR)]) == ["new"]


def test_what_is_remembered_is_bounded_and_still_nothing_is_told_twice() -> None:
    models = NewModels.resume("churn", None, now=NOW)
    jobs = [training(f"job-{minute}", ended=timedelta(minutes=minute)) for minute in range(1, 501)]
    assert len(told(models, jobs)) == 500
    assert told(models, jobs) == []
    assert len(models.state()["told"]) == 100


def page(*ages: timedelta) -> list[Job]:
    return [Job(id=str(n), kind=JobKind.TRAINING, status="DONE", created_at=NOW - age) for n, age in enumerate(ages)]


def test_a_list_is_long_enough_if_it_is_complete_or_reaches_back_for_days() -> None:
    recent = page(HOUR, 2 * HOUR, 3 * HOUR)
    assert next_limit(recent, 100, now=NOW) is None
    assert next_limit(recent, 3, now=NOW) == 12
    assert next_limit(page(HOUR, 2 * HOUR, 100 * HOUR), 3, now=NOW) is None
    # An order that tells nothing: only a complete list does.
    assert next_limit(page(100 * HOUR, HOUR, 200 * HOUR), 3, now=NOW) == 12
    assert next_limit(recent, 100_000, now=NOW) is None
