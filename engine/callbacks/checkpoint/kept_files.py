"""Which files a ModelCheckpoint keeps: their paths and scores, without any writing."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple, SupportsFloat

import torch

from engine.callbacks.checkpoint.top_k import TopK


class SavePlan(NamedTuple):
    """What rank zero decided to save of one state; all ranks carry it out."""

    score: float | None
    path: str | None  # of the file among the best k, None if the state is none of them
    last: str | None  # of the newest file, None where none is kept
    missing: list[str]  # files that are remembered and no longer exist


class CheckpointFiles:
    """The files that one ModelCheckpoint has written and that still count.

    Attributes:
        top: the best k by score.
        newest: the path of the newest file, which is the best one where there is no monitor.
        last: the path of the newest file that `save_last` keeps.
        best_path: a best path that a program has set; it holds until the next file is written.
        best_score: a best score that a program has set, likewise.
    """

    def __init__(self, top: TopK) -> None:
        self.top = top
        self.newest = ""
        self.last = ""
        self.best_path: str | None = None
        self.best_score: object = None

    def missing(self) -> list[str]:
        """The scored files that no longer exist."""
        return [path for path in self.top.scores if not os.path.exists(path)]

    def record(self, plan: SavePlan, keeps_only_newest: bool) -> list[str]:
        """Count the files of a plan as written; returns the paths that they replace."""
        replaced = []
        self.best_path = self.best_score = None
        if plan.path is not None:
            if keeps_only_newest:
                replaced.append(self.newest)
            elif plan.score is not None and not math.isnan(plan.score):
                replaced += self.top.add(plan.path, plan.score)
            self.newest = plan.path
        if plan.last is not None:
            replaced.append(self.last)
            self.last = plan.last
        return [path for path in replaced if path not in ("", plan.path, plan.last)]


def is_among_best(top: TopK, save_top_k: int, monitored: bool, score: float | None) -> bool:
    """Whether a state is worth a file of its own.

    Args:
        top: the files that there are, with their scores.
        save_top_k: how many are kept, -1 for all.
        monitored: whether states are judged by a metric at all.
        score: the metric's value for this state, None if it has none.
    """
    if not monitored:
        return save_top_k != 0
    return score is not None and (save_top_k < 0 or top.accepts(score))


def inherited_last(states: Iterable[object], folder: str | None) -> str | None:
    """The newest file in `folder` among the states of earlier callbacks, None if there is none."""
    last = None
    for state in states:
        path = state.get("last_model_path") if isinstance(state, Mapping) else None
        if path and os.path.dirname(path) == folder:
            last = path
    return last


class Scores(dict[str, torch.Tensor]):
    """The best k by path; what a program writes into it counts from then on."""

    def __init__(self, top: TopK) -> None:
        super().__init__({path: as_score(score) for path, score in top.scores.items()})
        self._top = top

    def __setitem__(self, path: str, score: SupportsFloat) -> None:
        super().__setitem__(path, as_score(score))
        self._top.scores[path] = float(score)

    def __delitem__(self, path: str) -> None:
        super().__delitem__(path)
        self._top.forget([path])

    def pop(self, path: str, *default: object) -> object:  # type: ignore[override]
        """Take one out; its file stays."""
        self._top.forget([path])
        return super().pop(path, *default)


def load_scores(top: TopK, scores: Mapping[str, SupportsFloat]) -> None:
    """Let `scores` (path: score) be the files that count."""
    top.load({path: float(score) for path, score in scores.items()})


def score_to_beat(top: TopK, save_top_k: int) -> torch.Tensor:
    """The score of the worst of the best k; infinitely bad while there is room for more."""
    worst = top.worst
    if worst is None or not 0 < save_top_k <= len(top.scores):
        return as_score(math.inf if top.mode == "min" else -math.inf)
    return as_score(top.scores[worst])


def as_score(value: SupportsFloat) -> torch.Tensor:
    """A score as programs get it: a float64 tensor without dimensions."""
    return torch.tensor(float(value), dtype=torch.float64)
