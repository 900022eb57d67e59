"""One DAG for each way to run an operator; the tests run them with ``dag.test()`` and in a real scheduler."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoCancelJobOperator, KumoRetrainOperator
from airflow_provider_kumo.outputs import s3, snowflake
from airflow_provider_kumo.sensors.kumo import KumoJobSensor

START = datetime(2026, 1, 1)
# A run without a logical date has no ds.
DAY = "{{ (dag_run.logical_date or dag_run.run_after).strftime('%Y%m%d') }}"

for mode, deferrable in (("deferrable", True), ("blocking", False)):
    with DAG(dag_id=f"case_retrain_{mode}", start_date=START, schedule=None, params={"timeout": 600}) as dag:
        KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", deferrable=deferrable)
    globals()[dag.dag_id] = dag

    with DAG(dag_id=f"case_predict_{mode}", start_date=START, schedule=None) as dag:
        KumoBatchPredictOperator(
            task_id="predict",
            pquery_id="ltv_90d",
            prediction_time="{{ dag_run.data_interval_end or dag_run.run_after }}",
            outputs=[
                snowflake(connector_id="my_snowflake", table_name=f"LTV_{DAY}", write_mode="APPEND"),
                s3(file_path="s3://bucket/" + DAY + "/part-{{PARTITION}}.parquet"),
            ],
            num_workers=4,
            explanations=True,
            deferrable=deferrable,
        )
    globals()[dag.dag_id] = dag

    with DAG(dag_id=f"case_chain_{mode}", start_date=START, schedule=None) as dag:
        retrain = KumoRetrainOperator(
            task_id="retrain", pquery_id="churn_30d", refresh_snapshot=True, deferrable=deferrable
        )
        KumoBatchPredictOperator(task_id="predict", training_job_id=retrain.output["job_id"], deferrable=deferrable)
    globals()[dag.dag_id] = dag

    with DAG(dag_id=f"case_mapped_{mode}", start_date=START, schedule=None) as dag:
        retrain = KumoRetrainOperator.partial(task_id="retrain", deferrable=deferrable, model_plan={}).expand(
            pquery_id=["churn_30d", "ltv_90d"]
        )
        KumoBatchPredictOperator.partial(task_id="predict", deferrable=deferrable).expand(
            training_job_id=retrain.output.map(lambda job: job["job_id"]),
            outputs=[[s3(file_path="s3://bucket/{{ ti.map_index }}/{{PARTITION}}.parquet")]],
        )
    globals()[dag.dag_id] = dag

# A task that is rescheduled to a moment before its worker is seen to have ended fails in Airflow's LocalExecutor.
for mode, interval in (("deferrable", 0.2), ("poke", 0.2), ("reschedule", 3)):
    with DAG(
        dag_id=f"case_sensor_{mode}", start_date=START, schedule=None, params={"job_id": "", "soft_fail": False}
    ) as dag:
        KumoJobSensor(
            task_id="wait",
            job_id="{{ params.job_id }}",
            deferrable=mode == "deferrable",
            mode="poke" if mode == "deferrable" else mode,
            poke_interval=interval,
        )
        KumoJobSensor(
            task_id="wait_or_skip",
            job_id="{{ params.job_id }}",
            deferrable=mode == "deferrable",
            mode="poke" if mode == "deferrable" else mode,
            poke_interval=interval,
            soft_fail=True,
        )
    globals()[dag.dag_id] = dag

# Before Airflow 3.3 a trigger cannot be started with templates, so the jobs must be known when the DAG is parsed.
DONE, FAILS, HANGS = os.environ.get("CASE_JOBS", "trainingjob-1 trainingjob-2 trainingjob-3").split()

with DAG(dag_id="case_from_trigger", start_date=START, schedule=None):
    KumoJobSensor(task_id="wait", job_id=DONE, start_from_trigger=True, pool="no_slots")

with DAG(dag_id="case_from_trigger_bad_ends", start_date=START, schedule=None):
    again = {"start_from_trigger": True, "retries": 2, "retry_delay": timedelta(seconds=1)}
    KumoJobSensor(task_id="wait", job_id=FAILS, **again)
    KumoJobSensor(task_id="wait_or_skip", job_id=FAILS, soft_fail=True, **again)
    KumoJobSensor(task_id="wait_for_nothing", job_id="trainingjob-nothere", **again)
    KumoJobSensor(task_id="wait_a_little", job_id=HANGS, timeout=8, **again)

with DAG(dag_id="case_from_trigger_chain", start_date=START, schedule=None):
    retrain = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", wait_for_completion=False)
    KumoJobSensor(task_id="wait", job_id=retrain.output["job_id"], start_from_trigger=True)
    KumoJobSensor.partial(task_id="wait_for_each", start_from_trigger=True).expand(job_id=[DONE])

with DAG(dag_id="case_cancel", start_date=START, schedule=None, params={"job_id": ""}) as dag:
    KumoCancelJobOperator(task_id="cancel", job_id="{{ params.job_id }}")
    KumoCancelJobOperator(task_id="cancel_again", job_id="{{ params.job_id }}", trigger_rule="all_done")

with DAG(dag_id="case_start_only", start_date=START, schedule=None):
    KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d", wait_for_completion=False)

with DAG(dag_id="case_wrong_arguments", start_date=START, schedule=None, params={"pquery_id": "", "time": "soon"}):
    KumoRetrainOperator(task_id="no_query", pquery_id="{{ params.pquery_id }}", retries=3)
    KumoBatchPredictOperator(task_id="no_model", pquery_id="{{ params.pquery_id }}", retries=3)
    KumoBatchPredictOperator(task_id="no_time", pquery_id="churn_30d", prediction_time="{{ params.time }}", retries=3)
