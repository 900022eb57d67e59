"""What a job's task tells OpenLineage. Imported only by the operators' OpenLineage method: it needs that provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import RunFacet, external_query_run, sql_job

from airflow_provider_kumo.client import calls
from airflow_provider_kumo.client.datasets import (
    connector_of_output,
    connector_of_source,
    name_output,
    name_source,
    sources_of,
)
from airflow_provider_kumo.client.errors import KumoError
from airflow_provider_kumo.client.jobs import JobKind, JobStatus
from airflow_provider_kumo.client.policy import Budgets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_kumo.client.datasets import Connector, DatasetName
    from airflow_provider_kumo.client.jobs import Job, PredictiveQuery
    from airflow_provider_kumo.client.logs import Log
    from airflow_provider_kumo.client.sync import KumoClient

# Airflow gives all of it ten seconds by default, after which it sends nothing at all.
_BUDGETS = Budgets(service=2.0, refused_key=0.0)
_SCHEMA = (
    "https://raw.githubusercontent.com/kumo-ai/airflow-provider-kumo/main/"
    "docs/schemas/1-0-0/KumoJobRunFacet.json#/$defs/KumoJobRunFacet"
)


@attr.define
class KumoJobRunFacet(RunFacet):  # type: ignore[misc]
    """The run facet ``kumo_job``: the job behind a task. ``docs/schemas`` has its schema."""

    jobId: str
    kind: str
    status: str
    trackingUrl: str | None = None
    pqueryId: str | None = None
    trainingJobId: str | None = None
    startedAt: str | None = None
    endedAt: str | None = None
    numEntitiesPredicted: int | None = None
    metrics: dict[str, dict[str, float | None]] = attr.Factory(dict)

    @staticmethod
    def _get_schema() -> str:
        return _SCHEMA


def lineage_of(job: Job, outputs: Iterable[Mapping[str, Any]], client: KumoClient, *, log: Log) -> OperatorLineage:
    """Return the datasets and facets of a job.

    Inputs are the tables of the query's graph, outputs what a prediction has written: none while its job is not DONE.
    What Kumo cannot be asked for now is left out, and the log says so.

    :param job: as last seen.
    :param outputs: of the request.
    :param client: answers where connectors point and what the query is.
    :param log: of the task.
    """
    lookup = _Lookup(client, log)
    query = lookup.query(job)
    sources = [] if query is None else sources_of(query.graph)
    return OperatorLineage(
        inputs=_datasets(lookup.named(source, connector_of_source, name_source) for source in sources),
        outputs=_datasets(
            lookup.named(output, connector_of_output, name_output)
            for output in (outputs if job.status == JobStatus.DONE else ())
        ),
        run_facets={
            "kumo_job": _job_facet(job),
            "externalQuery": external_query_run.ExternalQueryRunFacet(
                externalQueryId=job.id, source=client.config.origin
            ),
        },
        job_facets={} if query is None else {"sql": sql_job.SQLJobFacet(query=query.query_string, dialect="kumo_pql")},
    )


def _job_facet(job: Job) -> KumoJobRunFacet:
    result = job.result()
    return KumoJobRunFacet(
        jobId=job.id,
        kind=job.kind.value,
        status=job.status,
        trackingUrl=job.tracking_url,
        pqueryId=job.pquery_id,
        trainingJobId=job.model_id,
        startedAt=result["started_at"],
        endedAt=result["ended_at"],
        numEntitiesPredicted=job.num_entities_predicted,
        metrics={split: values for split, values in result["metrics"].items() if values},
    )


def _datasets(names: Iterable[DatasetName | None]) -> list[Dataset]:
    found = sorted({name for name in names if name is not None})
    return [Dataset(namespace=name.namespace, name=name.name) for name in found]


class _Lookup:
    """Asks Kumo for what a job does not say, each thing once; what cannot be had is None."""

    def __init__(self, client: KumoClient, log: Log) -> None:
        self._client = client
        self._log = log
        self._connectors: dict[str, Connector | None] = {}

    def named(
        self,
        table: Mapping[str, Any],
        connector_of: Callable[[Mapping[str, Any]], str | None],
        name: Callable[[Mapping[str, Any], Connector | None], DatasetName | None],
    ) -> DatasetName | None:
        connector_id = connector_of(table)
        return name(table, None if connector_id is None else self._connector(connector_id))

    def query(self, job: Job) -> PredictiveQuery | None:
        pquery_id = job.pquery_id
        if pquery_id is None and job.kind is JobKind.PREDICTION and job.training_job_id is not None:
            model = self._ask(calls.get_job(JobKind.TRAINING, job.training_job_id))
            pquery_id = None if model is None else model.pquery_id
        return None if pquery_id is None else self._ask(calls.get_predictive_query(pquery_id))

    def _connector(self, connector_id: str) -> Connector | None:
        if connector_id not in self._connectors:
            self._connectors[connector_id] = self._ask(calls.get_connector(connector_id))
        return self._connectors[connector_id]

    def _ask(self, call: calls.Call[Any]) -> Any:
        try:
            return self._client.send(call, budgets=_BUDGETS)
        except KumoError as error:
            self._log.warning("Left out of the lineage: %s", error)
            return None
