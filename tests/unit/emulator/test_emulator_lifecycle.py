from __future__ import annotations

import dataclasses
from math import inf

import pytest

from airflow_provider_kumo.emulator import lifecycle
from airflow_provider_kumo.emulator.records import Failure, JobRecord, Kind, Verdict

T0 = 1_000_000.0
SPEED = 60.0


def record(kind: Kind = Kind.TRAINING, **changes) -> JobRecord:
    job = JobRecord(
        id="job-1",
        kind=kind,
        number=1,
        seed="job-1",
        created_at=T0,
        speed=SPEED,
        pquery_id="pquery-q",
        pquery_name="q",
        task="binary_classification",
        entities=100,
        config={},
        tags={},
        started_at=T0 + 45 / SPEED,
    )
    return dataclasses.replace(job, **changes)


def test_a_training_goes_through_every_state_in_order() -> None:
    job = record()
    total = lifecycle.plan_of(job).total
    assert 90 * 60 <= total <= 150 * 60
    start = T0 + 45 / SPEED
    seen = [
        lifecycle.view(job, at).status
        for at in (T0, T0 + 16 / SPEED, start, start + total / SPEED - 0.001, start + total / SPEED)
    ]
    assert seen == ["NOT_STARTED", "QUEUED", "RUNNING", "RUNNING", "DONE"]


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        (Kind.TRAINING, ["Data Ingestion", "Generate Training Table", "Training"]),
        (Kind.PREDICTION, ["Data Ingestion", "Generate Prediction Table", "Predicting", "Exporting"]),
    ],
)
def test_the_event_log_names_the_stages(kind: Kind, stages: list[str]) -> None:
    job = record(kind)
    done = lifecycle.view(job, lifecycle.end_at(job))
    assert [event.stage for event in done.events] == stages
    times = [event.at for event in done.events]
    assert times == sorted(times)
    assert done.start_time <= times[0]
    assert done.end_time is not None
    assert times[-1] <= done.end_time


def test_the_training_stage_counts_experiments() -> None:
    job = record(experiments=3)
    second = lifecycle.plan_of(job).trials[1].start
    seen = lifecycle.view(job, lifecycle.wall_at(job, second))
    assert seen.events[-1].detail == "Experiment 2 of 3"
    assert seen.events[-1].at == lifecycle.wall_at(job, second)


def test_a_view_holds_exactly_until_it_says() -> None:
    job = record()
    now, states = T0, 0
    while True:
        seen = lifecycle.view(job, now)
        if seen.valid_until == inf:
            break
        assert lifecycle.view(job, seen.valid_until - 1e-6).events == seen.events
        after = lifecycle.view(job, seen.valid_until)
        assert (after.status, after.events) != (seen.status, seen.events)
        now = seen.valid_until
        states += 1
    # NOT_STARTED, QUEUED, three stages, three more experiments, DONE.
    assert states == 8


def test_times_are_wall_clock_at_any_speed() -> None:
    slow, fast = record(speed=1.0, started_at=T0), record(speed=600.0, started_at=T0)
    assert lifecycle.end_at(slow) - T0 == pytest.approx(600 * (lifecycle.end_at(fast) - T0))
    progress = lifecycle.progress(fast, T0 + 8.0)
    assert progress.start_time is not None
    assert progress.start_time + progress.elapsed == pytest.approx(T0 + 8.0)


def test_a_job_without_a_slot_waits() -> None:
    job = record(started_at=None)
    assert lifecycle.view(job, T0 + 1e6).status == "QUEUED"
    assert lifecycle.end_at(job) == inf


def test_a_planned_failure_comes_in_its_stage() -> None:
    job = record(will_fail=Failure("Bad data", "Column x is gone.", "Data Ingestion"))
    seen = lifecycle.view(job, lifecycle.end_at(job))
    assert seen.status == "FAILED"
    assert seen.failure == Failure("Bad data", "Column x is gone.", "Data Ingestion")
    assert [event.stage for event in seen.events] == ["Data Ingestion"]
    assert lifecycle.view(job, lifecycle.end_at(job) - 0.01).failure is None


def test_a_cancelled_job_ends_a_little_later() -> None:
    job = record(cancel_requested_at=T0 + 10)
    assert lifecycle.view(job, T0 + 10).status == "RUNNING"
    seen = lifecycle.view(job, T0 + 10 + 30 / SPEED)
    assert (seen.status, seen.end_time) == ("CANCELLED", T0 + 10 + 30 / SPEED)


def test_a_cancellation_that_comes_too_late_changes_nothing() -> None:
    end = lifecycle.end_at(record())
    assert lifecycle.view(record(cancel_requested_at=end - 0.01), end + 10).status == "DONE"


def test_a_job_cancelled_in_the_queue_never_started() -> None:
    job = record(started_at=None, cancel_requested_at=T0 + 5)
    seen = lifecycle.view(job, T0 + 60)
    assert (seen.status, seen.start_time, seen.events) == ("CANCELLED", T0, ())


def test_a_held_job_runs_until_it_is_released() -> None:
    natural = lifecycle.end_at(record())
    assert lifecycle.view(record(held=True), natural + 1e6).status == "RUNNING"
    assert lifecycle.end_at(record(released_at=natural + 5)) == natural + 5
    assert lifecycle.end_at(record(released_at=natural - 5)) == natural


def test_an_advance_is_a_jump_at_its_own_time() -> None:
    job = record(started_at=T0, advances=[(T0 + 10, 3600.0)])
    assert lifecycle.virtual_at(job, T0 + 9) == 9 * SPEED
    assert lifecycle.virtual_at(job, T0 + 10) == 10 * SPEED + 3600
    # What lay before the jump keeps its time; what was jumped over happened at the jump.
    assert lifecycle.wall_at(job, 5 * SPEED) == T0 + 5
    assert lifecycle.wall_at(job, 10 * SPEED + 100) == T0 + 10
    assert lifecycle.wall_at(job, 20 * SPEED + 3600) == T0 + 20


def test_a_verdict_ends_a_job() -> None:
    job = record(verdict=Verdict("FAILED", T0 + 5, Failure("Stop", "Stopped.")))
    assert lifecycle.view(job, T0 + 4.9).status == "RUNNING"
    assert lifecycle.view(job, T0 + 5).status == "FAILED"


def test_the_number_of_epochs_grows_and_trials_finish() -> None:
    job = record()
    end = lifecycle.end_at(job)
    before = lifecycle.progress(job, T0)
    assert (before.start_time, before.total_trials, before.trials) == (None, 0, ())
    middle = lifecycle.progress(job, T0 + (end - T0) * 0.6)
    assert 0 < len(middle.trials) < 4
    assert 0 < middle.fraction < 1
    after = lifecycle.progress(job, end + 1000)
    assert all(trial.finished and len(trial.epochs) == trial.planned_epochs for trial in after.trials)
    assert after.estimated == pytest.approx(after.elapsed)


def test_prediction_progress_ends_with_all_iterations() -> None:
    job = record(Kind.PREDICTION)
    seen = lifecycle.progress(job, lifecycle.end_at(job))
    assert seen.completed_iterations == seen.total_iterations > 0
    assert seen.trials == ()


def test_plans_depend_on_the_seed_alone() -> None:
    assert lifecycle.plan_of(record()) == lifecycle.plan_of(record())
    assert lifecycle.plan_of(record()) != lifecycle.plan_of(record(seed="other"))
