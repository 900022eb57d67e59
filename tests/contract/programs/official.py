"""Kumo's own client, led from outside: ``[action, args, kwargs]`` in for each call, its result as JSON out.

An action is a function of this file, or a method of one of the client's typed APIs, such as ``training_job_api.get``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import kumoai
from kumoai import global_state
from kumoapi.graph import GraphDefinition
from kumoapi.jobs import BatchPredictionRequest, TrainingJobRequest
from kumoapi.json_serde import from_json, to_json_dict

# What the methods that create something take.
TAKES = {
    "training_job_api.create": TrainingJobRequest,
    "batch_prediction_job_api.maybe_create": BatchPredictionRequest,
    "graph_api.create_graph": GraphDefinition,
}


def init(**arguments: Any) -> None:
    kumoai.init(**arguments)


def retrain(job_id: str) -> str:
    """Train a model again on fresh data, as Kumo's documentation of the client shows it."""
    query = kumoai.PredictiveQuery.load_from_training_job(job_id)
    trainer = kumoai.Trainer.load(job_id)
    job: str = trainer.fit(query.graph, pquery=query, non_blocking=True, custom_tags={"by": "sdk"}).job_id
    return job


def predict(job_id: str, num_workers: int) -> str:
    """Predict with a model, keeping the result in Kumo."""
    query = kumoai.PredictiveQuery.load_from_training_job(job_id)
    trainer = kumoai.Trainer.load(job_id)
    job: str = trainer.predict(
        query.graph, output_config={"output_types": {"predictions"}}, num_workers=num_workers, non_blocking=True
    ).job_id
    return job


def metrics(job_id: str) -> Any:
    """Wait for a training job and return its metrics; raises if it fails."""
    return kumoai.TrainingJob(job_id).result().metrics()


def summary(job_id: str) -> Any:
    """Wait for a batch prediction job and return its summary; raises if it fails."""
    return kumoai.BatchPredictionJob(job_id).result().summary()


def status(job_id: str) -> Any:
    return kumoai.TrainingJob(job_id).status()


def tracking_url(job_id: str) -> str:
    return kumoai.TrainingJob(job_id).tracking_url


HERE = {function.__name__: function for function in (init, retrain, predict, metrics, summary, status, tracking_url)}


def call(action: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if action in HERE:
        return HERE[action](*args, **kwargs)
    api, method = action.split(".")
    if action in TAKES:
        args = [from_json(args[0], TAKES[action]), *args[1:]]
    return getattr(getattr(global_state.client, api), method)(*args, **kwargs)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # the client prints what it does
    for line in sys.stdin:
        try:
            answer = {"result": to_json_dict(call(*json.loads(line)))}
        except Exception as error:  # noqa: BLE001 - the test says whether it was to be expected
            answer = {"raised": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
