"""Tasks with outlets, in each mode."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator, KumoRetrainOperator
from airflow_provider_kumo.outputs import s3, snowflake
from airflow_provider_kumo.sensors.kumo import KumoJobSensor

START = datetime(2026, 1, 1)

for mode, deferrable in (("deferrable", True), ("blocking", False)):
    with DAG(dag_id=f"case_outlets_{mode}", start_date=START, schedule=None) as dag:
        retrain = KumoRetrainOperator(
            task_id="retrain",
            pquery_id="churn_30d",
            deferrable=deferrable,
            outlets=[Asset(f"kumo-case://{mode}/model"), Asset(f"kumo-case://{mode}/model/again")],
        )
        predict = KumoBatchPredictOperator(
            task_id="predict",
            training_job_id=retrain.output["job_id"],
            deferrable=deferrable,
            outlets=[Asset(f"kumo-case://{mode}/predictions")],
        )
        KumoJobSensor(
            task_id="wait",
            job_id=predict.output["job_id"],
            deferrable=deferrable,
            poke_interval=0.2,
            outlets=[Asset(f"kumo-case://{mode}/seen")],
        )
    globals()[dag.dag_id] = dag

with DAG(dag_id="case_outlets_start_only", start_date=START, schedule=None):
    KumoRetrainOperator(
        task_id="retrain",
        pquery_id="churn_30d",
        wait_for_completion=False,
        outlets=[Asset("kumo-case://start-only/model")],
    )

with DAG(dag_id="case_lineage", start_date=START, schedule=None):
    retrain = KumoRetrainOperator(task_id="retrain", pquery_id="churn_30d")
    KumoBatchPredictOperator(
        task_id="predict",
        training_job_id=retrain.output["job_id"],
        outputs=[
            snowflake(connector_id="my_snowflake", table_name="CHURN_{{ run_id | length }}"),
            s3(file_path="s3://acme-ml/churn/part-{{PARTITION}}.parquet"),
        ],
    )

# Airflow 3 calls datasets assets.
events = "triggering_asset_events" if AIRFLOW_V_3_0_PLUS else "triggering_dataset_events"

with DAG(dag_id="case_on_new_model", start_date=START, schedule=[Asset("kumo-case://deferrable/model")]):
    KumoBatchPredictOperator(
        task_id="predict",
        training_job_id=f"{{{{ ({events}.values() | first | last).extra.training_job_id }}}}",
    )
