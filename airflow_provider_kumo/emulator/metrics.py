"""Plausible scores: what a model of a task could reach, and how it gets there."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_kumo.emulator.lifecycle import TrialView, learned, plan_of

if TYPE_CHECKING:
    from airflow_provider_kumo.emulator.records import JobRecord


@dataclass(frozen=True, slots=True)
class Score:
    """One metric: where an untrained model starts, where a good one arrives."""

    name: str
    untrained: float
    trained: float
    #: How far the training split flatters the model; negative for an error measure.
    optimism: float


_BINARY = (
    Score("auroc", 0.5, 0.83, 0.03),
    Score("auprc", 0.12, 0.41, 0.04),
    Score("acc", 0.78, 0.89, 0.01),
)
_MULTICLASS = (Score("acc", 0.3, 0.71, 0.03), Score("f1", 0.2, 0.66, 0.03))
_REGRESSION = (Score("mae", 46.0, 21.5, -1.2), Score("rmse", 71.0, 38.0, -2.1), Score("smape", 0.9, 0.41, -0.02))
_RANKING = (
    Score("map@10", 0.01, 0.16, 0.01),
    Score("ndcg@10", 0.02, 0.23, 0.015),
    Score("recall@10", 0.03, 0.31, 0.02),
)

_BY_TASK = {
    "binary_classification": _BINARY,
    "multiclass_classification": _MULTICLASS,
    "multilabel_classification": _MULTICLASS,
    "regression": _REGRESSION,
    "forecasting": _REGRESSION,
}


def scores_of(task: str) -> tuple[Score, ...]:
    """Return the metrics that fit a task.

    :param task: a value of Kumo's ``TaskType``.
    :returns: the metrics, the one that is tuned first.
    """
    return _BY_TASK.get(task, _RANKING)


def _reached(score: Score, *, share: float, quality: float) -> float:
    """Return the score after ``share`` of the learning; ``quality`` moves the goal a little."""
    goal = score.trained + quality * (score.trained - score.untrained)
    return score.untrained + (goal - score.untrained) * share


def final_scores(record: JobRecord) -> dict[str, dict[str, float]]:
    """Return the scores of a trained model.

    :param record: a training job.
    :returns: metric values by split: ``test``, ``validation`` and ``training``.
    """
    best = max((trial.quality for trial in plan_of(record).trials), default=0.0)
    noise = random.Random(record.seed + "/scores")  # noqa: S311 - a plausible number, not a secret
    splits: dict[str, dict[str, float]] = {"test": {}, "validation": {}, "training": {}}
    for score in scores_of(record.task):
        reached = _reached(score, share=1.0, quality=best)
        wobble = noise.uniform(-0.2, 0.2) * score.optimism
        splits["training"][score.name] = round(reached + score.optimism, 4)
        splits["validation"][score.name] = round(reached, 4)
        splits["test"][score.name] = round(reached - 0.3 * score.optimism + wobble, 4)
    return splits


def epoch_scores(record: JobRecord, trial: TrialView, epoch: int) -> tuple[float, dict[str, float]]:
    """Return what an epoch of a trial achieved.

    :param record: the training job.
    :param trial: the trial.
    :param epoch: the epoch, from 1.
    :returns: the training loss and the validation scores.
    """
    share = learned(epoch, trial.planned_epochs)
    loss = 0.69 - 0.42 * share * (1 + trial.quality)
    return round(loss, 4), {
        score.name: round(_reached(score, share=share, quality=trial.quality), 4) for score in scores_of(record.task)
    }
