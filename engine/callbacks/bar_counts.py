"""How far a run is, by the names that progress bars of one's own read."""

from __future__ import annotations

from typing import Any

from engine.callbacks.base import Callback


class BarCounts(Callback):
    """Reads the numbers of the trainer that it runs in; counts nothing itself."""

    _trainer: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
        """The trainer whose numbers are shown."""
        self._trainer = trainer

    @property
    def trainer(self) -> Any:
        """The trainer that this bar shows."""
        if self._trainer is None:
            raise RuntimeError(f"{type(self).__name__} is not in a run yet: it has no trainer")
        return self._trainer

    @property
    def train_batch_idx(self) -> int:
        """Batches of this epoch that are done."""
        done: int = self.trainer.batch_idx
        return done

    @property
    def total_train_batches(self) -> int | float:
        """Batches of a training epoch."""
        total: int | float = self.trainer.num_training_batches
        return total

    @property
    def total_val_batches(self) -> int | float:
        """Batches of a validation, of all loaders."""
        total: int | float = sum(self.trainer.num_val_batches)
        return total

    @property
    def total_test_batches(self) -> int | float:
        """Batches of a test, of all loaders."""
        total: int | float = sum(self.trainer.num_test_batches)
        return total

    @property
    def total_predict_batches(self) -> int | float:
        """Batches of a prediction, of all loaders."""
        total: int | float = sum(self.trainer.num_predict_batches)
        return total

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is shown."""
        return not getattr(self, "is_enabled", True)

    def __getstate__(self) -> dict[str, Any]:
        # A copy is a bar, not a part of the run that it was taken from.
        return {**self.__dict__, "_trainer": None}
