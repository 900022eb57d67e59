from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kumo.client.errors import (
    KumoAuthenticationError,
    KumoConfigurationError,
    KumoForbiddenError,
    KumoNotFoundError,
    KumoQuotaError,
    KumoRequestRefusedError,
    KumoUnavailableError,
)
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.client.policy import ONE_TRY, Budgets, Weather, first_look, full_jitter, next_look

T, P = JobKind.TRAINING, JobKind.PREDICTION
BORN = datetime(2026, 11, 20, tzinfo=UTC)
quickly = settings(deadline=None, max_examples=100)


def job(kind: JobKind, **changes) -> Job:
    return Job(**{"id": "x", "kind": kind, "status": "RUNNING", "created_at": BORN, **changes})


@quickly
@given(st.integers(1, 10_000))
def test_pauses_grow_to_a_minute_and_are_never_nothing(tries):
    ceiling = min(60, 2 ** min(tries - 1, 10))
    assert ceiling / 10 <= full_jitter(tries) <= ceiling


def test_a_thousand_triggers_do_not_come_back_in_step():
    assert len({full_jitter(7) for _ in range(1000)}) > 990


def rough(error, budgets=None, *, safe=True, every=None):
    """Return the pauses until a request is given up, and the seconds that took by a clock of our own."""
    weather = Weather(budgets or Budgets(), safe_to_repeat=safe)
    now, pauses = 1000.0, []
    while (pause := weather.pause_after(error, now=now)) is not None:
        pauses.append(pause)
        now += pause if every is None else every
        assert len(pauses) < 100_000
    return pauses, now - 1000.0


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (KumoUnavailableError("x"), 1800),
        (KumoQuotaError("x"), 1800),
        (KumoUnavailableError("x", reached=False), 1800),
        (KumoAuthenticationError("x", reached=False), 900),
        (KumoNotFoundError("x"), 0),
        (KumoForbiddenError("x"), 0),
        (KumoRequestRefusedError("x"), 0),
        (KumoConfigurationError("x"), 0),
    ],
)
def test_each_trouble_is_waited_out_for_as_long_as_its_budget(error, seconds):
    assert rough(error)[1] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("error", "budgets", "seconds"),
    [
        (KumoUnavailableError("x"), Budgets(service=60), 60),
        (KumoAuthenticationError("x"), Budgets(refused_key=60), 60),
        (KumoNotFoundError("x"), Budgets(missing=60), 60),
        (KumoUnavailableError("x"), ONE_TRY, 0),
        (KumoAuthenticationError("x"), ONE_TRY, 0),
        (KumoNotFoundError("x"), ONE_TRY, 0),
    ],
)
def test_a_budget_can_be_chosen(error, budgets, seconds):
    assert rough(error, budgets)[1] == pytest.approx(seconds)


def test_a_clock_that_jumps_over_the_budget_ends_the_waiting():
    assert len(rough(KumoUnavailableError("x"), every=3600)[0]) == 1


def test_each_kind_of_trouble_has_its_own_budget():
    weather = Weather(Budgets(service=100, refused_key=100), safe_to_repeat=True)
    assert weather.pause_after(KumoUnavailableError("x"), now=0) is not None
    assert weather.pause_after(KumoUnavailableError("x"), now=99) is not None
    assert weather.pause_after(KumoAuthenticationError("x"), now=150) is not None
    assert weather.pause_after(KumoAuthenticationError("x"), now=249) is not None
    assert weather.pause_after(KumoUnavailableError("x"), now=150) is None


@pytest.mark.parametrize(("asked", "paused"), [(0.0, 0.0), (7.0, 7.0), (300.0, 300.0), (86400.0, 300.0), (1e18, 300.0)])
def test_the_server_may_ask_for_a_pause_of_up_to_five_minutes(asked, paused):
    weather = Weather(Budgets(), safe_to_repeat=True)
    assert weather.pause_after(KumoQuotaError("x", retry_after=asked), now=0) == paused


def test_a_pause_never_outlasts_the_budget():
    weather = Weather(Budgets(service=10), safe_to_repeat=True)
    assert weather.pause_after(KumoQuotaError("x", retry_after=60.0), now=0) == 10


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (KumoUnavailableError("x", reached=True), False),
        (KumoUnavailableError("x", reached=False), True),
        (KumoQuotaError("x", reached=False), True),
        (KumoAuthenticationError("x", reached=False), True),
    ],
)
def test_what_starts_a_job_is_repeated_only_if_it_was_certainly_not_acted_on(error, repeated):
    assert bool(rough(error, safe=False)[0]) is repeated


# -- when to look --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "age", "spacing"),
    [
        (T, 0, 60),
        (T, 240, 60),
        (T, 480, 120),
        (T, 720, 180),
        (T, 10 * 3600, 180),
        (P, 0, 15),
        (P, 600, 30),
        (P, 1200, 60),
        (P, 10 * 3600, 60),
        (T, -3600, 60),
    ],
)
def test_looks_are_spaced_by_the_age_of_the_job(kind, age, spacing):
    looks = [next_look(job(kind), now=BORN.timestamp() + age, poll_interval=None) for _ in range(200)]
    assert spacing * 0.9 <= min(looks) < max(looks) <= spacing * 1.1


def test_a_job_that_has_queued_for_long_is_young_when_it_starts():
    started = datetime(2026, 11, 20, 5, tzinfo=UTC)
    looks = [next_look(job(P, started_at=started), now=started.timestamp() + 60, poll_interval=None) for _ in range(50)]
    assert max(looks) <= 15 * 1.1


def test_a_job_of_unknown_age_is_looked_at_soon():
    assert next_look(job(T, created_at=None), now=1e12, poll_interval=None) <= 66


@quickly
@given(st.floats(0.01, 1e6), st.sampled_from(JobKind), st.floats(0, 1e9))
def test_a_fixed_interval_is_kept(interval, kind, age):
    look = next_look(job(kind), now=BORN.timestamp() + age, poll_interval=interval)
    assert look == pytest.approx(interval, rel=0.1001)


@pytest.mark.parametrize(("kind", "interval", "spacing"), [(T, None, 60), (P, None, 15), (T, 10.0, 10), (P, 0.2, 0.2)])
def test_the_first_look_of_a_trigger_is_spread_and_never_at_once(kind, interval, spacing):
    looks = [first_look(kind, poll_interval=interval) for _ in range(200)]
    assert spacing / 2 <= min(looks) < max(looks) <= spacing
    assert max(looks) - min(looks) > spacing / 4
