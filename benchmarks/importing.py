"""What it costs to import operators and triggers, over a bare Airflow, in a fresh process each.

``python -m benchmarks.importing MODULE`` measures one and prints one JSON object;
``python -m benchmarks.importing --dag FILE`` parses one DAG file with Airflow's own DagBag.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_OURS = "airflow_provider_kumo"
#: Operators and triggers to compare: name, module of operators, module of triggers.
PROVIDERS = (
    ("kumo", f"{_OURS}.operators.kumo", f"{_OURS}.triggers.kumo"),
    ("airbyte", "airflow.providers.airbyte.operators.airbyte", "airflow.providers.airbyte.triggers.airbyte"),
    ("fivetran-async", "fivetran_provider_async.operators", "fivetran_provider_async.triggers"),
    ("dbt-cloud", "airflow.providers.dbt.cloud.operators.dbt", "airflow.providers.dbt.cloud.triggers.dbt"),
    (
        "sagemaker",
        "airflow.providers.amazon.aws.operators.sagemaker",
        "airflow.providers.amazon.aws.triggers.sagemaker",
    ),
    (
        "databricks",
        "airflow.providers.databricks.operators.databricks",
        "airflow.providers.databricks.triggers.databricks",
    ),
    (
        "vertex_ai",
        "airflow.providers.google.cloud.operators.vertex_ai.custom_job",
        "airflow.providers.google.cloud.triggers.vertex_ai",
    ),
)
HTTP_LIBRARIES = ("aiohttp", "httpx", "requests")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an import costs.

    :param cpu: milliseconds of CPU.
    :param memory: megabytes.
    :param modules: how many more there are in ``sys.modules``.
    :param http: the HTTP libraries that came with it.
    :param process: milliseconds of CPU of the whole process, Airflow and Python included.
    """

    cpu: float
    memory: float
    modules: int
    http: list[str]
    process: float


def of_import(module: str) -> Cost:
    """Import a module after a bare Airflow."""
    import airflow.sdk

    _load_lazy(airflow.sdk)
    return _cost(lambda: importlib.import_module(module))


def of_dag(path: Path) -> Cost:
    """Parse a DAG file as Airflow's DAG processor does, in a process that has loaded what the processor has."""
    import airflow.sdk
    from airflow.dag_processing.dagbag import DagBag

    _load_lazy(airflow.sdk)
    logging.disable(logging.CRITICAL)

    def parse() -> None:
        bag = DagBag(dag_folder=str(path), bundle_name="benchmark", load_op_links=False)
        assert bag.dags, bag.import_errors

    return _cost(parse)


def _load_lazy(sdk: object) -> None:
    """Load what every DAG file uses: ``airflow.sdk`` itself loads its names at first use."""
    for name in ("DAG", "BaseOperator", "BaseSensorOperator", "BaseHook"):
        getattr(sdk, name)


def _cost(work: object) -> Cost:
    import psutil

    assert callable(work)
    gc.collect()
    process = psutil.Process()
    modules, memory, cpu = set(sys.modules), process.memory_full_info().uss, time.process_time()
    work()
    cpu = time.process_time() - cpu
    memory = process.memory_full_info().uss - memory
    new = set(sys.modules) - modules
    return Cost(
        cpu=cpu * 1000,
        memory=memory / 1e6,
        modules=len(new),
        http=[name for name in HTTP_LIBRARIES if name in new],
        process=time.process_time() * 1000,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module", nargs="?")
    parser.add_argument("--dag", type=Path)
    options = parser.parse_args()
    cost = of_dag(options.dag) if options.dag is not None else of_import(options.module)
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
