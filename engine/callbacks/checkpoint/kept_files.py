"""What a ModelCheckpoint shows of the files that it keeps, and what programs may set of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from engine.callbacks.base import Callback
from engine.callbacks.checkpoint.top_k import TopK
from engine.runtime.coordination.barrier import everybody


class Scores(dict[str, Any]):
    """The best k by path; what a program writes into it counts from then on."""

    def __init__(self, top: TopK) -> None:
        super().__init__({path: as_score(score) for path, score in top.scores.items()})
        self._top = top

    def __setitem__(self, path: str, score: Any) -> None:
        super().__setitem__(path, as_score(score))
        self._top.scores[path] = float(score)

    def __delitem__(self, path: str) -> None:
        super().__delitem__(path)
        self._top.forget([path])

    def pop(self, path: str, *default: Any) -> Any:
        """Take one out; its file stays."""
        self._top.forget([path])
        return super().pop(path, *default)


class KeptFiles(Callback):
    """The best files and their scores. A best path or score that a program sets holds until the
    next file is written.
    """

    monitor: str | None
    mode: str
    save_top_k: int
    save_weights_only: bool
    _top: TopK
    _newest: str
    _said: dict[str, Any]

    @property
    def best_model_path(self) -> str:
        """The best checkpoint; without a monitor the newest; empty where nothing was saved."""
        found = self._top.best or "" if self.monitor is not None else self._newest
        return str(self._said.get("best_model_path") or found)

    @best_model_path.setter
    def best_model_path(self, path: str) -> None:
        self._said["best_model_path"] = path

    @property
    def best_model_score(self) -> Any:
        """The score of the best checkpoint."""
        said = self._said.get("best_model_score")
        if said is not None or not self._top.best:
            return said
        return as_score(self._top.scores[self._top.best])

    @best_model_score.setter
    def best_model_score(self, score: Any) -> None:
        self._said["best_model_score"] = score

    @property
    def best_k_models(self) -> dict[str, Any]:
        """The scores of the best k checkpoints by path."""
        return Scores(self._top)

    @best_k_models.setter
    def best_k_models(self, scores: Mapping[str, Any]) -> None:
        self._top.load({path: float(score) for path, score in scores.items()})

    @property
    def kth_best_model_path(self) -> str:
        """The checkpoint that the next better one takes the place of."""
        return self._top.worst or ""

    @kth_best_model_path.setter
    def kth_best_model_path(self, path: str) -> None:
        pass  # it follows from the scores

    @property
    def kth_value(self) -> torch.Tensor:
        """Its score, which the next one must beat; infinitely bad while there is room."""
        worst = self._top.worst
        if worst is None or not 0 < self.save_top_k <= len(self._top.scores):
            return as_score(math.inf if self.mode == "min" else -math.inf)
        return as_score(self._top.scores[worst])

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        # Programs override it, to write something beside the file.
        with everybody():  # each rank has come to the same step
            trainer.save_checkpoint(filepath, self.save_weights_only)


def as_score(value: Any) -> torch.Tensor:
    """A score as programs get it."""
    return torch.tensor(float(value), dtype=torch.float64)
