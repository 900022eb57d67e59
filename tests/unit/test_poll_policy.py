"""What the default spacing costs, by the simulation that benchmarks/ ships: seeded, so the same on every machine."""

from __future__ import annotations

from airflow_provider_kumo.client.jobs import JobKind
from benchmarks import polling


def test_the_default_spacing_asks_seldom_and_notices_soon():
    ours = polling.simulate(polling.POLICIES[polling.OURS], jobs=2000, seed=1)
    assert ours.requests <= 65
    assert ours.late <= 0.0175
    assert ours.late_p95 <= 0.046
    assert ours.late_seconds[JobKind.PREDICTION] < 20
    assert ours.late_seconds[JobKind.TRAINING] < 95


def test_it_beats_a_fixed_minute_in_requests_and_in_lateness():
    ours = polling.simulate(polling.POLICIES[polling.OURS], jobs=1000, seed=2)
    fixed = polling.simulate(lambda kind: polling.FixedLooker(60.0), jobs=1000, seed=2)
    assert ours.requests < 0.65 * fixed.requests
    assert ours.late < 0.75 * fixed.late
    assert ours.late_p95 < 0.5 * fixed.late_p95


def test_kumos_estimate_gains_nothing_that_pays_for_its_requests():
    ours = polling.simulate(polling.POLICIES[polling.OURS], jobs=1000, seed=3)
    guided = [
        polling.simulate(make, jobs=1000, seed=3) for name, make in polling.POLICIES.items() if "estimate" in name
    ]
    assert len(guided) == 2
    for other in guided:
        assert other.requests > ours.requests or other.late > ours.late
