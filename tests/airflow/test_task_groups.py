"""The ready task group under ``dag.test()``: what reaches Kumo, and what a weak model stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kumo.emulator.local import LocalKumo

pytestmark = pytest.mark.kumo_emulator(speed=15_000)


def test_a_good_model_predicts_with_every_argument(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    run = run_dag("case_group")
    assert run.tasks == dict.fromkeys(("churn.retrain", "churn.metric_gate", "churn.predict"), "success")
    trained, predicted = run.result("churn.retrain"), run.result("churn.predict")
    assert run.result("churn.metric_gate") == {"auroc": trained["metrics"]["test"]["auroc"]}
    assert run.xcoms["churn.metric_gate", "tracking_url"] == trained["tracking_url"]
    config = kumo_emulator.job(predicted["job_id"]).config
    assert config["model_training_job_id"] == trained["job_id"]
    assert config["predict_options"]["num_workers"] == 2
    [output] = config["outputs"]
    assert output["file_path"].startswith("s3://bucket/20")
    assert output["file_path"].endswith("/part-{{PARTITION}}.parquet")


def test_a_weak_model_skips_the_prediction_and_says_why(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    run = run_dag("case_group", least=0.99)
    assert run.state == "success"
    assert run.tasks == {"churn.retrain": "success", "churn.metric_gate": "skipped", "churn.predict": "skipped"}
    trained = run.result("churn.retrain")
    auroc = trained["metrics"]["test"]["auroc"]
    assert (
        f"The model of {trained['job_id']} is not good enough: on the test data auroc is {auroc}, "
        f"below the minimum of 0.99. See {trained['tracking_url']}"
    ) in run.log
    assert kumo_emulator.jobs("prediction") == []


def test_a_metric_that_the_model_has_not_fails_the_gate(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    run = run_dag("case_group_wrong_metric")
    assert run.tasks == {
        "retrain_and_predict.retrain": "success",
        "retrain_and_predict.metric_gate": "failed",
        "retrain_and_predict.predict": "upstream_failed",
    }
    assert "minimum_metrics: the model has no test metric 'auroc'; it has mae, rmse, smape." in run.log
    assert kumo_emulator.jobs("prediction") == []


def test_mapped_each_model_is_judged_for_itself(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    run = run_dag("case_group_mapped")
    ends = {"retrain": ("success", "success"), "metric_gate": ("success", "skipped"), "predict": ("success", "skipped")}
    assert run.tasks == {
        f"retrain_and_predict.{name}[{index}]": states[index] for name, states in ends.items() for index in (0, 1)
    }
    [prediction] = kumo_emulator.jobs("prediction")
    assert prediction.config["model_training_job_id"] == run.result("retrain_and_predict.retrain[0]")["job_id"]
    assert prediction.config["outputs"][0]["file_path"].endswith("/0/{{PARTITION}}.parquet")


def test_a_template_that_airflow_leaves_in_a_mapped_value_does_not_reach_kumo(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    run = run_dag("case_group_mapped_template")
    assert run.tasks["retrain_and_predict.predict[0]"] == "failed"
    assert "outputs[0]: a template in it was not rendered" in run.log
    assert kumo_emulator.jobs("prediction") == []


def test_the_teardown_cancels_a_training_that_nobody_needs_any_more(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    kumo_emulator.hold(kind="training", count=1)
    run = run_dag("case_teardown")
    assert run.state == "failed"
    assert run.tasks == {"start": "success", "fail": "failed", "predict": "upstream_failed", "cancel": "success"}
    assert kumo_emulator.job(run.result("start")["job_id"]).status == "CANCELLED"
