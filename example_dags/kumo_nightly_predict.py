"""Every night: predict with the newest model of a predictive query, as of the end of the day."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator
from airflow_provider_kumo.outputs import s3, snowflake

# The day of the run; one that is started by hand may have no logical date.
DAY = "{{ (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"

with DAG(
    dag_id="kumo_nightly_predict",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kumo"],
    doc_md=__doc__,
):
    KumoBatchPredictOperator(
        task_id="predict",
        pquery_id="churn_30d",
        prediction_time="{{ dag_run.data_interval_end or dag_run.run_after }}",
        outputs=[
            snowflake(
                connector_id="my_snowflake",
                table_name="CHURN_PREDICTIONS",
                write_mode="APPEND",
                extra_fields=["JOB_TIMESTAMP"],
            ),
            # {{PARTITION}} is Kumo's own: it numbers the part files.
            s3(file_path="s3://my-bucket/churn/" + DAY + "/part-{{PARTITION}}.parquet", connector_id="my_s3"),
        ],
        binary_classification_threshold=0.5,
    )
