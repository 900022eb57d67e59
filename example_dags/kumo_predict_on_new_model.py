"""Whenever a predictive query has a new model, predict with it: also if a person has retrained it in Kumo.

For Airflow 3.0 and later. Unpause it to start watching.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Asset, Param
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_kumo.operators.kumo import KumoBatchPredictOperator
from airflow_provider_kumo.triggers.kumo_events import KumoModelTrainedTrigger

# Airflow 2 has no watchers, and no DAG here.
if AIRFLOW_V_3_0_PLUS:
    from airflow.sdk import AssetWatcher

    new_model = Asset(
        "kumo_churn_model",
        watchers=[AssetWatcher(name="kumo_churn_30d", trigger=KumoModelTrainedTrigger(pquery_id="churn_30d"))],
    )

    with DAG(
        dag_id="kumo_predict_on_new_model",
        schedule=[new_model],
        start_date=datetime(2026, 1, 1),
        is_paused_upon_creation=True,
        params={"training_job_id": Param("", type="string", title="Model, if started by hand")},
        tags=["kumo"],
        doc_md=__doc__,
    ):
        KumoBatchPredictOperator(
            task_id="predict",
            training_job_id=(
                "{{ (triggering_asset_events.values() | first | last).extra.payload.training_job_id"
                " if triggering_asset_events else params.training_job_id }}"
            ),
        )
