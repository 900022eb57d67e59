"""What a job looks like at an instant: a pure function of its record and the time.

A job has a *virtual* timeline (ingestion so many minutes, training so many more) drawn from
its seed. ``speed`` virtual seconds pass in one second of wall clock, and
:attr:`~airflow_provider_kumo.emulator.records.JobRecord.advances` are jumps along it.
Everything that leaves this module is in wall-clock epoch seconds: a client that computes
ages and deadlines from the answers must get them right at any speed.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf

from airflow_provider_kumo.emulator.records import Failure, JobRecord, Kind

MINUTE = 60.0

#: Virtual seconds a job is NOT_STARTED, and then QUEUED, when a slot is free.
NOT_STARTED_SECONDS = 15.0
QUEUED_SECONDS = 30.0

#: Virtual seconds between a request to cancel a job and its end.
CANCEL_SECONDS = 30.0

TERMINAL = frozenset({"DONE", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Shape:
    """The stages of a kind of job, with the share of the whole that each takes."""

    shortest: float
    longest: float
    stages: tuple[tuple[str, float], ...]
    main: str


SHAPES = {
    Kind.TRAINING: Shape(
        90 * MINUTE,
        150 * MINUTE,
        (("Data Ingestion", 0.08), ("Generate Training Table", 0.12), ("Training", 0.80)),
        "Training",
    ),
    Kind.PREDICTION: Shape(
        30 * MINUTE,
        60 * MINUTE,
        (
            ("Data Ingestion", 0.10),
            ("Generate Prediction Table", 0.12),
            ("Predicting", 0.63),
            ("Exporting", 0.15),
        ),
        "Predicting",
    ),
    Kind.TRAIN_TABLE: Shape(
        8 * MINUTE,
        15 * MINUTE,
        (("Data Ingestion", 0.4), ("Generate Training Table", 0.6)),
        "Generate Training Table",
    ),
    Kind.PREDICTION_TABLE: Shape(
        6 * MINUTE,
        12 * MINUTE,
        (("Data Ingestion", 0.4), ("Generate Prediction Table", 0.6)),
        "Generate Prediction Table",
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A point of the virtual timeline at which the event log changes."""

    offset: float
    stage: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """One experiment of a training job: when it starts, and the ends of its epochs."""

    start: float
    epochs: tuple[float, ...]
    quality: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The virtual timeline of a job; offsets in virtual seconds since it started."""

    total: float
    steps: tuple[Step, ...]
    main_start: float
    main_end: float
    trials: tuple[Trial, ...]
    iterations: int


@dataclass(frozen=True, slots=True)
class StageEvent:
    """One line of a job's event log."""

    stage: str
    at: float
    detail: str | None


@dataclass(frozen=True, slots=True)
class JobView:
    """The visible state of a job. It holds until ``valid_until``."""

    status: str
    start_time: float
    end_time: float | None
    events: tuple[StageEvent, ...]
    failure: Failure | None
    valid_until: float


@dataclass(frozen=True, slots=True)
class TrialView:
    """The visible part of a trial, with the wall-clock seconds each epoch took."""

    start_time: float
    elapsed: float
    epochs: tuple[float, ...]
    quality: float
    planned_epochs: int
    finished: bool


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far the main stage of a job is; seconds are wall-clock seconds."""

    start_time: float | None
    elapsed: float
    estimated: float | None
    fraction: float
    trials: tuple[TrialView, ...]
    total_trials: int
    total_iterations: int
    completed_iterations: int


def plan_of(record: JobRecord) -> Plan:
    """Draw the virtual timeline of a job from its seed.

    :param record: the job.
    :returns: the plan; always the same one for the same record.
    """
    return _plan(record.kind, record.seed, record.experiments, record.tables)


@lru_cache(maxsize=4096)
def _plan(kind: Kind, seed: str, experiments: int, tables: int) -> Plan:
    draw = random.Random(seed)  # noqa: S311 - a plausible timeline, not a secret
    shape = SHAPES[kind]
    total = draw.uniform(shape.shortest, shape.longest)
    steps: list[Step] = []
    trials: tuple[Trial, ...] = ()
    offset = main_start = main_end = 0.0
    for name, share in shape.stages:
        end = offset + share * total
        if name == shape.main:
            main_start, main_end = offset, end
        if name == "Training":
            trials = _trials(draw, start=offset, end=end, experiments=experiments)
            count = len(trials)
            steps += [
                Step(trial.start, name, f"Experiment {number} of {count}") for number, trial in enumerate(trials, 1)
            ]
        else:
            steps.append(Step(offset, name, f"Ingesting {tables} tables" if name == "Data Ingestion" else None))
        offset = end
    return Plan(total, tuple(steps), main_start, main_end, trials, draw.randrange(600, 2400))


def _trials(draw: random.Random, *, start: float, end: float, experiments: int) -> tuple[Trial, ...]:
    weights = [draw.uniform(0.8, 1.2) for _ in range(experiments)]
    scale = (end - start) / sum(weights)
    trials = []
    for weight in weights:
        length = weight * scale
        epochs = draw.randrange(6, 13)
        # The last epoch ends a little before its trial: scoring the trial takes time too.
        step = length * 0.96 / epochs
        ends = tuple(start + step * (number + 1) for number in range(epochs))
        trials.append(Trial(start, ends, draw.uniform(-0.02, 0.02)))
        start += length
    return tuple(trials)


def wall_at(record: JobRecord, offset: float) -> float:
    """Tell when a running job reaches a point of its virtual timeline.

    :param record: the job.
    :param offset: virtual seconds since the job started.
    :returns: wall-clock time; infinite when the job has no start yet.
    """
    if record.started_at is None:
        return inf
    jumped = 0.0
    for at, amount in record.advances:
        if record.started_at + (offset - jumped) / record.speed <= at:
            break
        jumped += amount
        if record.started_at + (offset - jumped) / record.speed <= at:
            return at
    return record.started_at + (offset - jumped) / record.speed


def virtual_at(record: JobRecord, now: float) -> float:
    """Tell how far along its virtual timeline a job is.

    :param record: the job.
    :param now: wall-clock time.
    :returns: virtual seconds since the job started, 0 before that.
    """
    if record.started_at is None or now < record.started_at:
        return 0.0
    jumps = sum(amount for at, amount in record.advances if at <= now)
    return (now - record.started_at) * record.speed + jumps


def ready_at(record: JobRecord) -> float:
    """Tell when a job would start to run if a slot were free.

    :param record: the job.
    :returns: wall-clock time.
    """
    return _admitted_at(record) + QUEUED_SECONDS / record.speed


def _admitted_at(record: JobRecord) -> float:
    return max(record.created_at + NOT_STARTED_SECONDS / record.speed, record.not_before)


def _queued_at(record: JobRecord) -> float:
    if record.started_at is None:
        return _admitted_at(record)
    # A job that was advanced before it started was in the queue earlier, too.
    return min(_admitted_at(record), record.started_at - QUEUED_SECONDS / record.speed)


def failure_offset(record: JobRecord) -> float:
    """Tell where on its virtual timeline a job that will fail does so.

    :param record: a job with ``will_fail`` set.
    :returns: virtual seconds since the job started: the middle of the stage.
    """
    plan = plan_of(record)
    shape = SHAPES[record.kind]
    wanted = record.will_fail.stage if record.will_fail and record.will_fail.stage else shape.main
    offset = 0.0
    for name, share in shape.stages:
        if name == wanted:
            return offset + share * plan.total / 2
        offset += share * plan.total
    return plan.total


def _ending(record: JobRecord) -> tuple[float, str, Failure | None]:
    """Return when the job ends, how, and why if it fails; the earliest of its possible ends."""
    fails = record.will_fail is not None
    at = wall_at(record, failure_offset(record) if fails else plan_of(record).total)
    if record.held:
        at = inf
    elif record.released_at is not None:
        at = max(at, record.released_at)
    endings: list[tuple[float, str, Failure | None]] = []
    if record.verdict is not None:
        endings.append((record.verdict.at, record.verdict.status, record.verdict.failure))
    endings.append((at, "FAILED" if fails else "DONE", record.will_fail))
    if record.cancel_requested_at is not None:
        endings.append((record.cancel_requested_at + CANCEL_SECONDS / record.speed, "CANCELLED", None))
    return min(endings, key=lambda ending: ending[0])


def end_at(record: JobRecord) -> float:
    """Tell when a job ends, if nothing happens to it any more.

    :param record: the job.
    :returns: wall-clock time; infinite for a job that is held, or waits without a slot.
    """
    return _ending(record)[0]


def view(record: JobRecord, now: float) -> JobView:
    """Tell what a job looks like.

    :param record: the job.
    :param now: wall-clock time.
    :returns: status, times and event log, and until when that stays so.
    """
    end, ending, failure = _ending(record)
    started = record.started_at if record.started_at is not None and record.started_at < end else None
    ended = now >= end
    events, next_event = _events(record, until=min(now, end))
    if ended:
        status = ending
    elif started is not None and now >= started:
        status = "RUNNING"
    else:
        status = "QUEUED" if now >= _queued_at(record) else "NOT_STARTED"
    if ended:
        valid_until = inf
    elif status == "RUNNING":
        valid_until = min(next_event, end)
    else:
        ahead = (_queued_at(record), record.started_at or inf, end)
        valid_until = min((at for at in ahead if at > now), default=inf)
    return JobView(
        status=status,
        # Kumo's schema wants a start time always, also for a job that only waits.
        start_time=started if started is not None and now >= started else record.created_at,
        end_time=end if ended else None,
        events=events,
        failure=failure if ended else None,
        valid_until=valid_until,
    )


def _events(record: JobRecord, *, until: float) -> tuple[tuple[StageEvent, ...], float]:
    """Return the log as it stands, one line per stage, and the time of the next change."""
    if record.started_at is None or until < record.started_at:
        return (), inf
    log: dict[str, StageEvent] = {}
    for step in plan_of(record).steps:
        at = wall_at(record, step.offset)
        if at > until:
            return tuple(log.values()), at
        log[step.stage] = StageEvent(step.stage, at, step.detail)
    return tuple(log.values()), inf


def progress(record: JobRecord, now: float) -> ProgressView:
    """Tell how far the main stage of a job is.

    :param record: the job.
    :param now: wall-clock time.
    :returns: trials or iterations so far, with wall-clock seconds.
    """
    plan = plan_of(record)
    end, ending, _ = _ending(record)
    at = min(now, end)
    offset = min(virtual_at(record, at), plan.total)
    if now >= end and ending == "DONE":
        # Not left to the rounding of epoch seconds: a job that is done has nothing unfinished.
        offset = max(plan.total, plan.main_end)
    if record.started_at is None or at < record.started_at or offset < plan.main_start:
        return ProgressView(None, 0.0, None, 0.0, (), 0, 0, 0)
    start, finish = wall_at(record, plan.main_start), wall_at(record, plan.main_end)
    fraction = min(1.0, (offset - plan.main_start) / (plan.main_end - plan.main_start))
    return ProgressView(
        start_time=start,
        elapsed=max(0.0, min(at, finish) - start),
        # Kumo calls it "generally an upper bound" that gets better with time.
        estimated=(finish - start) * (1.15 - 0.15 * fraction),
        fraction=fraction,
        trials=tuple(_trial_views(record, plan, offset=offset, at=at)),
        total_trials=len(plan.trials),
        total_iterations=plan.iterations,
        completed_iterations=int(plan.iterations * fraction),
    )


def _trial_views(record: JobRecord, plan: Plan, *, offset: float, at: float) -> list[TrialView]:
    views = []
    ends = [trial.start for trial in plan.trials[1:]] + [plan.main_end]
    for trial, trial_end in zip(plan.trials, ends, strict=False):
        if trial.start > offset:
            break
        finished = trial_end <= offset
        done = bisect_right(trial.epochs, offset)
        walls = [wall_at(record, end) for end in (trial.start, *trial.epochs[:done])]
        views.append(
            TrialView(
                start_time=walls[0],
                elapsed=max(0.0, (wall_at(record, trial_end) if finished else at) - walls[0]),
                epochs=tuple(after - before for before, after in itertools.pairwise(walls)),
                quality=trial.quality,
                planned_epochs=len(trial.epochs),
                finished=finished,
            )
        )
    return views


def overall_fraction(record: JobRecord, now: float) -> float:
    """Tell how far a job is as a whole, for a progress bar.

    :param record: the job.
    :param now: wall-clock time.
    :returns: a number from 0 to 1; 1 only for a job that is done.
    """
    seen = view(record, now)
    if seen.status == "DONE":
        return 1.0
    offset = virtual_at(record, min(now, seen.end_time if seen.end_time is not None else now))
    return min(0.99, offset / plan_of(record).total)


def learned(epoch: int, planned: int) -> float:
    """Tell how much of its final quality a model has after an epoch.

    :param epoch: the epoch, from 1.
    :param planned: how many epochs the trial has.
    :returns: a number from 0 to 1 along a saturating curve.
    """
    return 1.0 - exp(-3.5 * epoch / planned)
