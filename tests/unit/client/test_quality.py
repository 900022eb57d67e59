from __future__ import annotations

import pytest

from airflow_provider_kumo.client.errors import KumoArgumentError
from airflow_provider_kumo.client.jobs import Job, JobKind
from airflow_provider_kumo.client.quality import held_out_metrics, shortfalls

METRICS = {"auroc": 0.7512, "mae": 21.5, "map": None}


@pytest.mark.parametrize(
    ("minimum", "maximum", "missed"),
    [
        ({"auroc": 0.75}, {}, []),
        ({"auroc": 0.7512}, {"mae": 21.5}, []),
        ({"auroc": 0.8}, {}, ["auroc is 0.7512, below the minimum of 0.8"]),
        ({}, {"mae": 20}, ["mae is 21.5, above the maximum of 20"]),
        (
            {"auroc": 0.8},
            {"mae": 20},
            ["auroc is 0.7512, below the minimum of 0.8", "mae is 21.5, above the maximum of 20"],
        ),
        ({"auroc": 0.7}, {"auroc": 0.74}, ["auroc is 0.7512, above the maximum of 0.74"]),
        ({"map": 0}, {}, ["map is null, so it cannot be held against 0"]),
        ({}, {"map": 1}, ["map is null, so it cannot be held against 1"]),
    ],
)
def test_every_metric_that_misses_its_bound_is_named(minimum, maximum, missed):
    assert shortfalls(METRICS, minimum=minimum, maximum=maximum) == missed


@pytest.mark.parametrize("argument", ["minimum", "maximum"])
def test_a_metric_that_the_model_has_not_is_an_error_that_says_which_it_has(argument):
    bounds = {"minimum": {}, "maximum": {}, argument: {"aucroc": 0.5}}
    with pytest.raises(
        KumoArgumentError, match=f"{argument}_metrics: .* no test metric 'aucroc'; it has auroc, mae, map"
    ):
        shortfalls(METRICS, **bounds)


def test_the_test_split_of_a_result_is_judged():
    job = Job(id="trainingjob-1", kind=JobKind.TRAINING, status="DONE", metrics={"test": METRICS, "training": {"x": 1}})
    assert held_out_metrics(job.result()) == METRICS


def test_a_job_without_test_metrics_cannot_be_judged():
    job = Job(id="trainingjob-1", kind=JobKind.TRAINING, status="RUNNING")
    with pytest.raises(KumoArgumentError, match="trainingjob-1 is RUNNING and has no test metrics"):
        held_out_metrics(job.result())


@pytest.mark.parametrize(
    "value", [None, "trainingjob-1", {}, {"metrics": None}, {"metrics": {"test": {"auroc": 1}}}, []]
)
def test_anything_but_a_result_is_refused(value):
    with pytest.raises(KumoArgumentError, match=r"training: got .* must be the result of a retrain"):
        held_out_metrics(value)
