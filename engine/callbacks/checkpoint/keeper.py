"""What every callback that keeps checkpoints has: the files, as programs see them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat

import torch

from engine.callbacks.base import Callback
from engine.callbacks.checkpoint.kept_files import (
    CheckpointFiles,
    Scores,
    as_score,
    load_scores,
    score_to_beat,
)
from engine.callbacks.checkpoint.settings import CheckpointSettings
from engine.callbacks.checkpoint.top_k import TopK
from engine.runtime.coordination.barrier import all_ranks_known_to_arrive
from engine.runtime.storage.files import write_whole

if TYPE_CHECKING:
    from engine.trainer.trainer import Trainer


class CheckpointKeeper(Callback):
    """A callback that keeps the best checkpoints; its subclass decides when to save one."""

    def __init__(self, settings: CheckpointSettings) -> None:
        self._settings = settings
        # What programs read, and may set between two fits.
        self.dirpath = settings.dirpath
        self.filename = settings.filename
        self.monitor = settings.monitor
        self.verbose = settings.verbose
        self.save_last = settings.save_last
        self.save_top_k = settings.save_top_k
        self.save_weights_only = settings.save_weights_only
        self.mode = settings.mode
        self.auto_insert_metric_name = settings.auto_insert_metric_name
        self.prefix = settings.prefix
        self._files = CheckpointFiles(TopK(settings.save_top_k, settings.mode))

    @property
    def last_model_path(self) -> str:
        """The newest file that `save_last` keeps; empty where there is none."""
        return self._files.last

    @last_model_path.setter
    def last_model_path(self, path: str) -> None:
        self._files.last = path

    @property
    def best_model_path(self) -> str:
        """The best checkpoint; without a monitor the newest; empty where nothing was saved.

        A path that a program sets holds until the next file is written.
        """
        files = self._files
        best = files.top.best or "" if self.monitor is not None else files.newest
        return str(files.best_path or best)

    @best_model_path.setter
    def best_model_path(self, path: str) -> None:
        self._files.best_path = path

    @property
    def best_model_score(self) -> Any:
        """The score of the best checkpoint, a float64 tensor without dimensions, or None.

        A score that a program sets holds until the next file is written.
        """
        best = self._files.top.best
        if self._files.best_score is not None or not best:
            return self._files.best_score
        return as_score(self._files.top.scores[best])

    @best_model_score.setter
    def best_model_score(self, score: object) -> None:
        self._files.best_score = score

    @property
    def best_k_models(self) -> dict[str, torch.Tensor]:
        """The scores of the best k checkpoints by path."""
        return Scores(self._files.top)

    @best_k_models.setter
    def best_k_models(self, scores: Mapping[str, SupportsFloat]) -> None:
        load_scores(self._files.top, scores)

    @property
    def kth_best_model_path(self) -> str:
        """The checkpoint that the next better one replaces."""
        return self._files.top.worst or ""

    @kth_best_model_path.setter
    def kth_best_model_path(self, path: str) -> None:
        pass  # it follows from the scores

    @property
    def kth_value(self) -> torch.Tensor:
        """Its score, which the next one must beat; infinitely bad while there is room."""
        return score_to_beat(self._files.top, self.save_top_k)

    def to_yaml(self, filepath: str | os.PathLike[str] | None = None) -> None:
        """Write the best k checkpoints with their scores as YAML, by default beside them."""
        import yaml

        scores = {path: float(score) for path, score in self.best_k_models.items()}
        path = filepath or os.path.join(self.dirpath or "", "best_k_models.yaml")
        write_whole(path, yaml.safe_dump(scores))

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        # Programs override it, to write something beside the file.
        with all_ranks_known_to_arrive():  # each rank has come to the same step
            trainer.save_checkpoint(filepath, self.save_weights_only)
