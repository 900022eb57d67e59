"""Reads request bodies on stdin with the kumo-api on PYTHONPATH, and prints what it made of them.

In: ``{name: [dataclass, body]}``. Out: for each name the body serialised again, or why it was refused; and the fields
that this version's dataclasses have.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from importlib.metadata import version
from typing import Any, get_args, get_type_hints

from kumoapi import jobs
from kumoapi.json_serde import from_json, to_json_dict
from kumoapi.model_plan import ModelPlan


def fields_of(cls: Any) -> dict[str, Any]:
    return {field.name: None for field in dataclasses.fields(cls)}


def outputs() -> dict[str, Any]:
    """Return the fields of an output by its storage type."""
    union = get_args(jobs.PredictionOutputConfig)[0]
    return {get_args(get_type_hints(cls)["storage_type"])[0].value: fields_of(cls) for cls in get_args(union)}


def echo(schema: str, body: Any) -> dict[str, Any]:
    try:
        return {"back": to_json_dict(from_json(body, getattr(jobs, schema)))}
    except ValueError as error:
        return {"refused": str(error)}


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "version": version("kumo-api"),
                "requests": {name: echo(*request) for name, request in json.load(sys.stdin).items()},
                "fields": {
                    "TrainingJobRequest": {
                        **fields_of(jobs.TrainingJobRequest),
                        "model_plan": {
                            name: fields_of(type(section)) for name, section in vars(ModelPlan()).items() if section
                        },
                    },
                    "BatchPredictionRequest": {
                        **fields_of(jobs.BatchPredictionRequest),
                        "predict_options": fields_of(jobs.BatchPredictionOptions),
                        "outputs": outputs(),
                    },
                },
                "choices": {
                    name: [choice.value for choice in getattr(jobs, name)]
                    for name in ("PredictionArtifactType", "MetadataField", "WriteMode", "PredictionStorageType")
                },
            }
        )
    )
