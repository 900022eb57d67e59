from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kumo.client.jobs import Job, JobKind, Progress
from airflow_provider_kumo.client.watch import Watch

T, P = JobKind.TRAINING, JobKind.PREDICTION
BORN = datetime(2026, 11, 20, tzinfo=UTC)


def job(status: str = "RUNNING", kind: JobKind = T, **more) -> Job:
    return Job(id="trainingjob-1", kind=kind, status=status, created_at=BORN, **more)


def test_only_what_has_changed_is_news():
    watch = Watch(poll_interval=None, deadline=None)
    looks = [
        (job("QUEUED"), None),
        (job("QUEUED"), None),
        (job(stage="Data Ingestion", stage_detail="Ingesting 3 tables"), Progress(kind=T)),
        (job(stage="Data Ingestion", stage_detail="Ingesting 3 tables"), Progress(kind=T)),
        (job(stage="Training"), Progress(kind=T, done=1, total=4)),
        (job(stage="Training"), None),
        (job(stage="Training"), Progress(kind=T, done=1, total=4)),
        (job(stage="Training"), Progress(kind=T, done=2, total=4)),
        (job(stage="Training", stage_detail="Experiment 3"), None),
        (job("DONE", stage="Training"), None),
    ]
    assert [line for line in (watch.news(*look) for look in looks) if line] == [
        "Training job trainingjob-1: QUEUED",
        "Training job trainingjob-1: RUNNING, Data Ingestion (Ingesting 3 tables)",
        "Training job trainingjob-1: RUNNING, Training, 25 %, 1 of 4 trials",
        "Training job trainingjob-1: RUNNING, Training, 50 %, 2 of 4 trials",
        "Training job trainingjob-1: RUNNING, Training (Experiment 3)",
    ]


def test_who_takes_over_says_so_once():
    watch = Watch(poll_interval=None, deadline=None, taken_over=True)
    first = job("QUEUED", tracking_url="https://kumo/1")
    assert watch.news(first, None) == "Waiting goes on. Training job trainingjob-1: QUEUED. See https://kumo/1"
    assert watch.news(job(), None) == "Training job trainingjob-1: RUNNING"


@pytest.mark.parametrize(
    ("status", "wants"),
    [("RUNNING", True), *((other, False) for other in ("NOT_STARTED", "QUEUED", "DONE", "FAILED", "CANCELLED", "NEW"))],
)
def test_progress_is_asked_only_of_a_job_that_moves(status, wants):
    watch = Watch(poll_interval=None, deadline=None)
    assert watch.wants_progress(job(status), now=BORN.timestamp() + 60) is wants


def test_progress_is_asked_in_each_stage_then_as_the_job_grows_older_and_at_least_every_hour():
    watch = Watch(poll_interval=None, deadline=None)
    ages = [60 * minute for minute in range(1, 600)]
    stages = ["Data Ingestion" if age < 1000 else "Training" for age in ages]
    looks = zip(ages, stages, strict=True)
    asked = [a for a, stage in looks if watch.wants_progress(job(stage=stage), now=BORN.timestamp() + a)]
    assert asked == [60, 180, 480, 1020, 2580, *range(6240, 36000, 3660)]


def test_without_a_deadline_looking_never_ends():
    watch = Watch(poll_interval=None, deadline=None)
    assert watch.pause(job(), now=BORN.timestamp() + 1e9) > 0


@pytest.mark.parametrize("late", [0, 0.001, 1e6])
def test_a_job_whose_time_is_up_is_not_waited_for(late):
    watch = Watch(poll_interval=10, deadline=BORN.timestamp() + 100)
    assert watch.pause(job(), now=BORN.timestamp() + 100 + late) is None


@settings(deadline=None, max_examples=100)
@given(
    st.none() | st.floats(0.1, 1e5),
    st.floats(0.001, 1e6),
    st.floats(0, 1e6),
    st.sampled_from(JobKind),
)
def test_no_pause_goes_past_the_deadline(interval, timeout, now, kind):
    start = BORN.timestamp()
    pause = Watch(poll_interval=interval, deadline=start + timeout).pause(job(kind=kind), now=start + now)
    if now > timeout:
        assert pause is None
    elif pause is not None:
        assert 0 < pause <= timeout - now + 1e-3
