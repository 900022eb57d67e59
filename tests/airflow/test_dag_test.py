"""The operators and the sensor under ``dag.test()``: every mode, good and bad ends."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_kumo.emulator.local import LocalKumo

pytestmark = pytest.mark.kumo_emulator(speed=15_000)

RESULT_KEYS = [
    "job_id",
    "kind",
    "status",
    "tracking_url",
    "pquery_id",
    "created_at",
    "started_at",
    "ended_at",
    "metrics",
    "num_entities_predicted",
]


@pytest.mark.parametrize(
    ("dag_id", "tasks"),
    [
        ("kumo_nightly_predict", {"predict"}),
        ("kumo_retrain_then_predict", {"retrain", "predict"}),
        ("kumo_wait_for_job", {"which_job", "wait", "tell"}),
        ("kumo_many_queries", {f"{task}[{index}]" for task in ("retrain", "predict") for index in range(3)}),
        (
            "kumo_stale_queries",
            {"stale", "report"} | {f"{task}[{index}]" for task in ("retrain", "predict") for index in range(3)},
        ),
        ("kumo_train_meanwhile", {"start", "refresh_entities", "trained", "predict", "cancel"}),
        (
            "kumo_shared_quota",
            {f"retrain_and_predict.{task}[{index}]" for task in ("retrain", "predict") for index in range(3)},
        ),
        ("kumo_notifications", {f"retrain_and_predict.{task}" for task in ("retrain", "metric_gate", "predict")}),
        (
            "kumo_gated_queries",
            {
                f"each_query.{task}[{index}]"
                for task in (*(f"retrain_and_predict.{name}" for name in ("retrain", "metric_gate", "predict")), "tell")
                for index in (0, 1)
            },
        ),
    ],
)
def test_every_example_runs_as_it_stands(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any], dag_id: str, tasks: set[str]
) -> None:
    run = run_dag(dag_id)
    assert run.tasks == dict.fromkeys(tasks, "success")


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="in Airflow 2 every run has a logical date")
@pytest.mark.parametrize("dag_id", ["kumo_nightly_predict", "case_predict_deferrable"])
def test_a_run_without_a_logical_date_predicts_from_its_start(
    kumo_emulator: LocalKumo, dags: Mapping[str, Any], dag_id: str
) -> None:
    dag_run = dags[dag_id].test(logical_date=None)
    assert dag_run.logical_date is None
    assert dag_run.state == "success"
    config = kumo_emulator.jobs("prediction")[-1].config
    moment = dag_run.run_after.astimezone(UTC).replace(tzinfo=None)
    assert config["prediction_time"] == f"{moment.isoformat()}Z"
    assert re.search(rf"/{moment:%Y-?%m-?%d}/part-\{{\{{PARTITION\}}\}}\.parquet$", config["outputs"][1]["file_path"])


def test_queries_with_a_young_model_are_not_retrained(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    run = run_dag("kumo_stale_queries", days=1000)
    assert run.tasks == {"stale": "success", "retrain": "skipped", "predict": "skipped", "report": "skipped"}


def test_the_report_and_the_tables_are_those_of_each_query(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    run = run_dag("kumo_stale_queries", days=2)
    assert [line.partition(":")[0] for line in run.result("report")] == ["churn_30d", "ltv_90d", "next_purchase"]
    trainings = {job.id: job.tags["pquery_name"] for job in kumo_emulator.jobs("training")}
    assert len(kumo_emulator.jobs("prediction")) == 3
    for prediction in kumo_emulator.jobs("prediction"):
        query = trainings[prediction.config["model_training_job_id"]]
        assert prediction.config["outputs"][0]["table_name"] == f"PREDICTIONS_{query.upper()}"


@pytest.mark.parametrize("mode", ["deferrable", "blocking"])
class TestModes:
    def test_a_retrain_returns_flat_clean_json_with_its_metrics(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        run = run_dag(f"case_retrain_{mode}")
        result = run.result("retrain")
        assert list(result) == RESULT_KEYS
        assert result["status"] == "DONE"
        assert result["metrics"]["test"]["auroc"] > 0.5
        assert json.loads(json.dumps(result)) == result
        assert run.xcoms["retrain", "job_id"] == result["job_id"]
        assert run.xcoms["retrain", "tracking_url"] == f"{kumo_emulator.origin}/jobs/{result['job_id']}"

    def test_a_retrain_copies_the_plan_of_the_newest_model(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        [past] = [job for job in kumo_emulator.jobs("training") if job.tags["pquery_name"] == "churn_30d"]
        run = run_dag(f"case_retrain_{mode}")
        new = kumo_emulator.job(run.result("retrain")["job_id"])
        assert new.config["model_plan"] == past.config["model_plan"]

    def test_a_prediction_takes_the_newest_model_and_every_argument_reaches_kumo(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        [model] = [job for job in kumo_emulator.jobs("training") if job.tags["pquery_name"] == "ltv_90d"]
        run = run_dag(f"case_predict_{mode}")
        result = run.result("predict")
        assert result["num_entities_predicted"] > 0
        config = kumo_emulator.job(result["job_id"]).config
        assert config["model_training_job_id"] == model.id
        assert config["explanations"] is True
        assert config["predict_options"]["num_workers"] == 4
        assert config["prediction_time"].endswith("Z")
        table, file = config["outputs"]
        assert table["write_mode"] == "APPEND"
        assert table["table_name"].startswith("LTV_20")
        assert file["file_path"].startswith("s3://bucket/20")
        assert file["file_path"].endswith("/part-{{PARTITION}}.parquet")

    def test_a_prediction_uses_the_model_that_was_just_trained(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        run = run_dag(f"case_chain_{mode}")
        trained = run.result("retrain")["job_id"]
        predicted = run.result("predict")["job_id"]
        assert kumo_emulator.job(predicted).config["model_training_job_id"] == trained
        assert "@" in kumo_emulator.job(trained).config["graph_snapshot_id"]

    def test_mapped_tasks_have_a_job_each(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        run = run_dag(f"case_mapped_{mode}")
        assert run.state == "success"
        for index in (0, 1):
            config = kumo_emulator.job(run.result(f"predict[{index}]")["job_id"]).config
            assert config["model_training_job_id"] == run.result(f"retrain[{index}]")["job_id"]
            assert config["outputs"][0]["file_path"] == f"s3://bucket/{index}/{{{{PARTITION}}}}.parquet"

    def test_a_failed_job_fails_the_task_with_kumos_reason(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        kumo_emulator.fail_next("training", title="Schema changed", message="Column AGE is gone")
        run = run_dag(f"case_retrain_{mode}")
        assert run.tasks == {"retrain": "failed"}
        assert "KumoJobFailedError" in run.log
        assert "Schema changed. Column AGE is gone." in run.log
        assert f"See {run.xcoms['retrain', 'tracking_url']}" in run.log

    def test_a_rejected_prediction_fails_with_kumos_own_messages(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        kumo_emulator.reject_next(title="Model is not trained", message="It has status FAILED")
        run = run_dag(f"case_predict_{mode}")
        assert run.tasks == {"predict": "failed"}
        assert "Kumo rejected the batch prediction: Model is not trained. It has status FAILED." in run.log

    @pytest.mark.kumo_emulator(speed=4_000)
    def test_progress_is_told_when_it_changes_and_the_metrics_at_the_end(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        run = run_dag(f"case_retrain_{mode}")
        job_id = run.result("retrain")["job_id"]
        assert f"Started training job {job_id}. See {kumo_emulator.origin}/jobs/{job_id}" in run.log
        assert "RUNNING, Training (Experiment" in run.log
        assert "of 4 trials" in run.log
        assert "auroc" in run.log


# dag.test() does not reschedule; test_real_airflow.py does.
@pytest.mark.parametrize("mode", ["deferrable", "poke"])
def test_a_sensor_waits_for_a_job_of_either_kind(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
) -> None:
    started = _start_prediction(kumo_emulator)
    run = run_dag(f"case_sensor_{mode}", job_id=started)
    assert run.result("wait")["job_id"] == started
    assert run.result("wait")["num_entities_predicted"] > 0
    assert run.xcoms["wait", "tracking_url"] == f"{kumo_emulator.origin}/jobs/{started}"


@pytest.mark.parametrize("mode", ["deferrable", "poke", "reschedule"])
class TestSensor:
    def test_a_job_that_has_ended_is_found_at_once(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        done = kumo_emulator.jobs("training")[0].id
        assert run_dag(f"case_sensor_{mode}", job_id=done).result("wait")["status"] == "DONE"

    def test_a_failed_job_fails_the_sensor_or_skips_it(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        started = _start_prediction(kumo_emulator)
        kumo_emulator.fail(started, title="Out of memory", message="Ask for more workers")
        run = run_dag(f"case_sensor_{mode}", job_id=started)
        assert run.tasks == {"wait": "failed", "wait_or_skip": "skipped"}
        assert "Out of memory. Ask for more workers." in run.log

    def test_an_unknown_job_is_an_error_at_once(
        self, kumo_emulator: LocalKumo, run_dag: Callable[..., Any], mode: str
    ) -> None:
        run = run_dag(f"case_sensor_{mode}", job_id="trainingjob-nothere")
        assert run.tasks["wait"] == "failed"
        assert "KumoNotFoundError" in run.log


def test_cancelling_is_idempotent(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    job_id = _start_prediction(kumo_emulator)
    kumo_emulator.hold(job_id)
    run = run_dag("case_cancel", job_id=job_id)
    assert run.tasks == {"cancel": "success", "cancel_again": "success"}
    assert run.result("cancel")["status"] == run.result("cancel_again")["status"] == "CANCELLED"


def test_cancelling_a_job_that_is_done_is_no_error(kumo_emulator: LocalKumo, run_dag: Callable[..., Any]) -> None:
    done = kumo_emulator.jobs("training")[0].id
    assert run_dag("case_cancel", job_id=done).result("cancel")["status"] == "DONE"


def test_without_waiting_the_task_returns_the_job_as_it_stands(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    result = run_dag("case_start_only").result("retrain")
    assert list(result) == RESULT_KEYS
    assert result["status"] in ("NOT_STARTED", "QUEUED", "RUNNING")


def test_a_person_who_cancels_in_kumo_fails_the_task_for_good(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    canceller = threading.Thread(target=_cancel_next_training, args=(kumo_emulator,))
    canceller.start()
    run = run_dag("case_retrain_deferrable")
    canceller.join()
    assert run.tasks == {"retrain": "failed"}
    assert "KumoJobCancelledError" in run.log
    assert "was cancelled in Kumo" in run.log


def test_wrong_rendered_arguments_fail_before_anything_is_started(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    run = run_dag("case_wrong_arguments")
    assert set(run.tasks.values()) == {"failed"}
    for text in ("pquery_id: got ''", "Give either training_job_id or pquery_id", "prediction_time: got 'soon'"):
        assert text in run.log
    assert kumo_emulator.requests == []


def test_neither_the_key_nor_a_trigger_with_it_is_ever_shown(
    kumo_emulator: LocalKumo, run_dag: Callable[..., Any]
) -> None:
    run = run_dag("kumo_retrain_then_predict")
    # Airflow 3.0 prints what its processes tell each other in dag.test(), this one naming what to mask.
    log = [line for line in run.log.splitlines() if "MaskSecret(" not in line]
    assert kumo_emulator.api_key not in "\n".join(log)
    assert kumo_emulator.api_key not in repr((run.xcoms, run.rendered))


def _start_prediction(kumo: LocalKumo) -> str:
    from airflow_provider_kumo.client import calls
    from airflow_provider_kumo.client.requests import prediction_request
    from airflow_provider_kumo.hooks.kumo import KumoHook

    model = kumo.jobs("training")[0].id
    return KumoHook().send(calls.create_prediction_job(prediction_request(training_job_id=model)))


def _cancel_next_training(kumo: LocalKumo) -> None:
    known = {job.id for job in kumo.jobs("training")}

    def running() -> str | None:
        return next((j.id for j in kumo.jobs("training") if j.id not in known and j.status == "RUNNING"), None)

    kumo.wait_for(lambda: running() is not None, timeout=60)
    kumo.cancel(running())
