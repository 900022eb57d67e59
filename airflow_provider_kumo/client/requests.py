"""From arguments to the bodies of Kumo's job requests, refusing what Kumo would refuse before anything is sent.

Kumo's schema ignores keys that it does not know, so a misspelt one would be lost silently: here it is an error.
Every error names the argument, what it got and what it wants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from airflow_provider_kumo.client.calls import RESERVED_TAGS
from airflow_provider_kumo.client.config import SHORTEST_POLL_INTERVAL
from airflow_provider_kumo.client.errors import KumoArgumentError
from airflow_provider_kumo.client.jobs import PREDICTION_PREFIX

# Tags that this provider writes itself; a user's tag of the same name would break the promise of one job a task.
OWN_TAG_PREFIX = "airflow_"

LONGEST_POLL_INTERVAL = 86400.0

_TAG_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_TAG_VALUE = 256
_ARTIFACT_TYPES = ("PREDICTIONS", "EMBEDDINGS")
_WRITE_MODES = ("OVERWRITE", "APPEND")
_EXTRA_FIELDS = ("ANCHOR_TIMESTAMP", "JOB_TIMESTAMP")


class _OutputShape(NamedTuple):
    required: tuple[str, ...]
    optional: tuple[str, ...]


_TABLE = ("connector_id", "table_name")
_OUTPUT_SHAPES = {
    "SNOWFLAKE": _OutputShape(_TABLE, ("extra_fields", "write_mode")),
    "BIGQUERY": _OutputShape(_TABLE, ("extra_fields", "write_mode", "staging_table_name")),
    "DATABRICKS": _OutputShape(_TABLE, ("extra_fields",)),
    "S3": _OutputShape(("file_path",), ("extra_fields", "connector_id")),
    "GCS": _OutputShape(("file_path",), ("extra_fields", "connector_id")),
    "ADLS": _OutputShape(("file_path",), ("extra_fields", "connector_id")),
    "LOCAL": _OutputShape((), ("extra_fields",)),
}


def training_request(
    *,
    pquery_id: Any,
    job_tags: Any = None,
    model_plan: Any = None,
    warm_start_job_id: Any = None,
    graph_snapshot_id: Any = None,
) -> dict[str, Any]:
    """Return the body that starts a training job (TrainingJobRequest of kumo-api).

    :param pquery_id: id or name of the predictive query.
    :param job_tags: tags of the user.
    :param model_plan: a ModelPlan or a part of one; None and ``{}`` leave every choice to Kumo's AutoML.
    :param warm_start_job_id: a finished training job whose best weights the training starts from.
    :param graph_snapshot_id: a snapshot of the graph's data; None lets Kumo ingest the data itself.
    :raises KumoArgumentError: an argument cannot be used.
    """
    body: dict[str, Any] = {
        "job_tags": check_tags(job_tags),
        "pquery_id": check_id("pquery_id", pquery_id),
        "model_plan": check_model_plan(model_plan) or {},
    }
    if warm_start_job_id is not None:
        body["warm_start_job_id"] = _check_model("warm_start_job_id", warm_start_job_id)
    if graph_snapshot_id is not None:
        body["graph_snapshot_id"] = check_id("graph_snapshot_id", graph_snapshot_id)
    return body


def prediction_request(
    *,
    training_job_id: Any,
    job_tags: Any = None,
    outputs: Any = None,
    prediction_time: Any = None,
    binary_classification_threshold: Any = None,
    num_classes_to_return: Any = None,
    num_workers: Any = None,
    explanations: Any = None,
    connector_required: bool = False,
) -> dict[str, Any]:
    """Return the body that starts a batch prediction job (BatchPredictionRequest of kumo-api).

    :param training_job_id: the training job whose model predicts.
    :param job_tags: tags of the user.
    :param outputs: where the results go (see :mod:`airflow_provider_kumo.outputs`); none keeps them in Kumo.
    :param prediction_time: the anchor time, as a datetime or ISO-8601 text, without an offset in UTC;
        None lets Kumo take the latest time in the data.
    :param binary_classification_threshold: score from which an entity counts as positive, from 0 to 1.
    :param num_classes_to_return: how many of the highest-scoring classes to return for each entity.
    :param num_workers: in how many parts to predict in parallel; Kumo's default is 1.
    :param explanations: whether to explain each prediction.
    :param connector_required: whether object-store outputs must name a connector (Kumo's access control is on).
    :raises KumoArgumentError: an argument cannot be used.
    """
    options = {
        "binary_classification_threshold": check_share(
            "binary_classification_threshold", binary_classification_threshold
        ),
        "num_classes_to_return": check_count("num_classes_to_return", num_classes_to_return),
        "num_workers": check_count("num_workers", num_workers),
    }
    body: dict[str, Any] = {
        "job_tags": check_tags(job_tags),
        "model_training_job_id": _check_model("training_job_id", training_job_id),
        "predict_options": {key: value for key, value in options.items() if value is not None},
        "outputs": check_outputs(outputs, connector_required=connector_required),
    }
    if prediction_time is not None:
        body["prediction_time"] = check_prediction_time(prediction_time)
    if explanations is not None:
        body["explanations"] = check_flag("explanations", explanations)
    return body


def check_id(argument: str, value: Any) -> str:
    """Return an id or name of something in Kumo.

    :raises KumoArgumentError: it is no text, empty, or holds control characters or outer spaces.
    """
    if value in ("", "None"):
        raise _wrong(argument, value, "an id or name; if it is a template, that has rendered nothing")
    if not isinstance(value, str) or value != value.strip() or not value.isprintable():
        raise _wrong(argument, value, "an id or name without line breaks or outer spaces")
    return value


def _check_model(argument: str, value: Any) -> str:
    model = check_id(argument, value)
    if model.startswith(PREDICTION_PREFIX):
        raise _wrong(argument, value, "the id of a training job; this is a batch prediction's")
    return model


def check_tags(value: Any) -> dict[str, str]:
    """Return the user's tags.

    Kumo's rules: keys of at most 64 letters, digits, dots, underscores and dashes; values of at most 256 characters.

    :raises KumoArgumentError: a tag breaks them, reads as a filter, removes a tag, or is one of this provider's.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong("job_tags", value, "a dict of text to text")
    for key, text in value.items():
        _check_tag(key, text)
    return dict(value)


def _check_tag(key: Any, value: Any) -> None:
    where = f"job_tags key {_shown(key)}"
    if not isinstance(key, str) or not _TAG_KEY.fullmatch(key):
        raise KumoArgumentError(f"{where}: a key has 1 to 64 letters, digits, '.', '_' or '-'.")
    if key in RESERVED_TAGS:
        raise KumoArgumentError(f"{where}: Kumo uses this name to filter lists of jobs. Choose another key.")
    if key.startswith(OWN_TAG_PREFIX):
        raise KumoArgumentError(
            f"{where}: keys that start with '{OWN_TAG_PREFIX}' belong to this provider. Choose another."
        )
    if not isinstance(value, str) or len(value) > _LONGEST_TAG_VALUE:
        raise KumoArgumentError(
            f"{where}: got {_shown(value)}; a value is text of at most {_LONGEST_TAG_VALUE} characters."
        )
    if value == "none":
        raise KumoArgumentError(f"{where}: Kumo reads the value 'none' as 'remove this tag'. Choose another value.")


def check_model_plan(value: Any) -> dict[str, Any] | None:
    """Return a model plan, or None.

    :raises KumoArgumentError: it is no dict, or does not survive JSON.
    """
    if value is None:
        return None
    wanted = "a dict of plain JSON values (a ModelPlan of Kumo or a part of one), {} or None"
    if not isinstance(value, Mapping):
        raise _wrong("model_plan", value, wanted)
    return {key: _json_value("model_plan", item, wanted, 0) for key, item in _text_keys("model_plan", value, wanted)}


def _json_value(argument: str, value: Any, wanted: str, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth < 50 and isinstance(value, Mapping):
        return {key: _json_value(argument, v, wanted, depth + 1) for key, v in _text_keys(argument, value, wanted)}
    if depth < 50 and isinstance(value, list | tuple):
        return [_json_value(argument, item, wanted, depth + 1) for item in value]
    raise _wrong(argument, value, wanted)


def _text_keys(argument: str, value: Mapping[Any, Any], wanted: str) -> list[tuple[str, Any]]:
    for key in value:
        if not isinstance(key, str):
            raise _wrong(argument, key, wanted)
    return list(value.items())


def check_outputs(value: Any, *, connector_required: bool = False) -> list[dict[str, Any]]:
    """Return the outputs of a batch prediction, each with ``write_mode`` wherever its storage has one.

    Kumo's documentation and its client name different defaults of ``write_mode``, so it is always sent.

    :param connector_required: whether object-store outputs must name a connector.
    :raises KumoArgumentError: an output is not one that Kumo knows.
    """
    if value is None:
        return []
    if isinstance(value, Mapping | str) or not isinstance(value, Sequence):
        raise _wrong("outputs", value, "a list of outputs (see airflow_provider_kumo.outputs)")
    return [
        _check_output(f"outputs[{index}]", item, connector_required=connector_required)
        for index, item in enumerate(value)
    ]


def _check_output(where: str, value: Any, *, connector_required: bool) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "a dict, such as airflow_provider_kumo.outputs.snowflake(...) returns")
    storage_type = value.get("storage_type")
    check_choice(f"{where}.storage_type", storage_type, tuple(_OUTPUT_SHAPES))
    shape = _OUTPUT_SHAPES[str(storage_type)]
    known = ("storage_type", "artifact_type", *shape.required, *shape.optional)
    for key in value:
        if key not in known:
            raise KumoArgumentError(f"{where}: {storage_type} takes no {_shown(key)}; it takes {', '.join(known)}.")
    output: dict[str, Any] = {
        "storage_type": storage_type,
        "artifact_type": check_choice(f"{where}.artifact_type", value.get("artifact_type"), _ARTIFACT_TYPES),
    }
    for key in shape.required:
        output[key] = check_id(f"{where}.{key}", value.get(key))
    if value.get("connector_id") is not None:
        output["connector_id"] = check_id(f"{where}.connector_id", value["connector_id"])
    elif connector_required and "connector_id" in shape.optional:
        raise KumoArgumentError(
            f"{where}.connector_id: Kumo requires a connector for {storage_type} when access control is on, "
            "and the connection names a group or project."
        )
    if value.get("staging_table_name") is not None:
        output["staging_table_name"] = check_id(f"{where}.staging_table_name", value["staging_table_name"])
    if "write_mode" in shape.optional:
        mode = value.get("write_mode", "OVERWRITE")
        output["write_mode"] = check_choice(f"{where}.write_mode", mode, _WRITE_MODES)
    extra_fields = value.get("extra_fields") or ()
    if not isinstance(extra_fields, list | tuple):
        raise _wrong(f"{where}.extra_fields", extra_fields, f"a list of {', '.join(_EXTRA_FIELDS)}")
    output["extra_fields"] = [check_choice(f"{where}.extra_fields", field, _EXTRA_FIELDS) for field in extra_fields]
    return output


def check_choice(argument: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return one of the choices.

    :raises KumoArgumentError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise _wrong(argument, value, f"one of {', '.join(choices)}")
    return str(value)


def check_prediction_time(value: Any) -> str:
    """Return an anchor time as Kumo reads it without doubt: ISO-8601 in UTC, ending in ``Z``.

    :param value: a datetime, a date, or ISO-8601 text; without an offset it is UTC.
    :raises KumoArgumentError: it is no time.
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if not isinstance(moment, datetime):
        raise _wrong("prediction_time", value, "a datetime or ISO-8601 text such as '2026-11-20T00:00:00+00:00'")
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError:
        raise _wrong("prediction_time", value, "a time whose year in UTC is from 1 to 9999") from None


def check_share(argument: str, value: Any) -> float | None:
    """Return a number from 0 to 1, or None.

    :raises KumoArgumentError: it is neither.
    """
    if value is None:
        return None
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        raise _wrong(argument, value, "a number from 0 to 1")
    return number


def check_count(argument: str, value: Any) -> int | None:
    """Return a whole number above zero, or None.

    :raises KumoArgumentError: it is neither.
    """
    if value is None:
        return None
    number = _number(value)
    if number is None or number < 1 or number != int(number):
        raise _wrong(argument, value, "a whole number above zero")
    return int(number)


def check_bounds(argument: str, value: Any) -> dict[str, float]:
    """Return a bound for each metric that is named; none if there are no bounds.

    :raises KumoArgumentError: it is no dict of names to numbers, or an empty one.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not value:
        raise _wrong(argument, value, "a dict of at least one metric's name to a number")
    bounds = {}
    for name, text in value.items():
        number = _number(text)
        if not isinstance(name, str) or number is None:
            raise _wrong(f"{argument}[{name!r}]", text, "a number, by the name of a metric")
        bounds[name] = number
    return bounds


def check_flag(argument: str, value: Any) -> bool:
    """Return True or False; their texts count too, because templates render text.

    :raises KumoArgumentError: it is neither.
    """
    flag = {"True": True, "true": True, "False": False, "false": False}.get(str(value))
    if flag is None:
        raise _wrong(argument, value, "True or False")
    return flag


def check_switch(argument: str, value: Any) -> bool:
    """Return a True or False that is fixed while the DAG is parsed.

    :raises KumoArgumentError: it is anything else; the text ``"no"`` would count as yes.
    """
    if not isinstance(value, bool):
        raise _wrong(argument, value, "True or False; it is not templated")
    return value


def check_poll_interval(value: Any) -> float | None:
    """Return the seconds between two looks at a job, or None.

    :raises KumoArgumentError: it is neither, or so short that it would keep a triggerer busy.
    """
    seconds = check_seconds("poll_interval", value)
    if seconds is not None and not SHORTEST_POLL_INTERVAL <= seconds <= LONGEST_POLL_INTERVAL:
        raise _wrong("poll_interval", value, "0.1 seconds to a day")
    return seconds


def check_seconds(argument: str, value: Any) -> float | None:
    """Return seconds above zero from a number or a timedelta, or None.

    :raises KumoArgumentError: it is none of these.
    """
    return None if value is None else required_seconds(argument, value)


def required_seconds(argument: str, value: Any) -> float:
    """Return seconds above zero from a number or a timedelta.

    :raises KumoArgumentError: it is neither.
    """
    if hasattr(value, "total_seconds"):
        value = value.total_seconds()
    number = _number(value)
    if number is None or number <= 0:
        raise _wrong(argument, value, "seconds above zero, or a positive timedelta")
    return number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _wrong(argument: str, value: Any, wanted: str) -> KumoArgumentError:
    return KumoArgumentError(f"{argument}: got {_shown(value)}; it must be {wanted}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + "…"
