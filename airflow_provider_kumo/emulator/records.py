"""The records the emulator keeps: plain data, no behaviour beyond small questions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Never


class Kind(StrEnum):
    """The kinds of job the emulator runs."""

    TRAINING = "training"
    PREDICTION = "prediction"
    TRAIN_TABLE = "train_table"
    PREDICTION_TABLE = "prediction_table"

    @classmethod
    def _missing_(cls, value: object) -> Never:
        raise ValueError(f"{value!r} is no kind of job; there are {', '.join(cls)}.")


#: The prefix of a job id, by kind.
ID_PREFIX = {
    Kind.TRAINING: "trainingjob",
    Kind.PREDICTION: "bp-job",
    Kind.TRAIN_TABLE: "gen-traintable-job",
    Kind.PREDICTION_TABLE: "gen-predtable-job",
}


@dataclass(slots=True)
class Failure:
    """Why a job fails, and where.

    :param title: short title of the error.
    :param message: the text a person reads.
    :param stage: name of the stage in which the job fails; ``None`` takes the main stage.
    """

    title: str
    message: str
    stage: str | None = None


@dataclass(slots=True)
class Verdict:
    """An end that somebody decided for a job, instead of its natural one."""

    status: str
    at: float
    failure: Failure | None = None


@dataclass(slots=True)
class JobRecord:
    """All that decides what a job looks like at a given instant.

    Times are wall-clock epoch seconds. ``speed`` belongs to the job, so that a server
    restarted with another speed does not rewrite the past.
    """

    id: str
    kind: Kind
    number: int
    seed: str
    created_at: float
    speed: float
    pquery_id: str
    pquery_name: str
    task: str
    entities: int
    config: dict[str, Any]
    tags: dict[str, str]
    project_id: str | None = None
    started_by: str = ""
    source: str = "REST"
    tables: int = 1
    experiments: int = 4
    not_before: float = 0.0
    started_at: float | None = None
    advances: list[tuple[float, float]] = field(default_factory=list)
    held: bool = False
    released_at: float | None = None
    cancel_requested_at: float | None = None
    cancelled_by: str | None = None
    will_fail: Failure | None = None
    verdict: Verdict | None = None
    vanished: bool = False
    #: Grows with every change; whatever is cached about a job is keyed by it.
    revision: int = 0


@dataclass(slots=True)
class QueryRecord:
    """A predictive query and the numbers that make its jobs plausible."""

    id: str
    name: str
    query_string: str
    graph: dict[str, Any]
    desc: str = ""
    task: str = "regression"
    entities: int = 100_000


@dataclass(slots=True)
class GraphRecord:
    """A graph definition, found by an id made from its content."""

    id: str
    graph: dict[str, Any]
    name_alias: str | None = None


@dataclass(slots=True)
class SnapshotRecord:
    """One version of a graph's data; ingestion ends at ``done_at``."""

    id: str
    graph_id: str
    created_at: float
    done_at: float
    table_ids: dict[str, str]
    graph_name: str | None = None
