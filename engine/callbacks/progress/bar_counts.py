"""What every progress bar knows: how far the run is, and whether it shows that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.callbacks.base import Callback

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class ProgressBarBase(Callback):
    """The base for bars of one's own: it shows nothing itself, and takes the default one's place.

    It reads the numbers of the trainer that it runs in, and counts nothing itself.
    """

    refresh_rate: int = 1
    process_position: int = 0
    _trainer: Any = None
    _enabled = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """The trainer whose numbers are shown."""
        self._trainer = trainer

    @property
    def trainer(self) -> Any:
        """The trainer that this bar shows."""
        if self._trainer is None:
            raise RuntimeError(f"{type(self).__name__} is not in a run yet: it has no trainer")
        return self._trainer

    # ------------------------------------------------------------------ whether it shows anything

    @property
    def is_enabled(self) -> bool:
        """Whether anything is shown."""
        return self._enabled

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is shown."""
        return not self.is_enabled

    def enable(self) -> None:
        """Show progress, from the next epoch on."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The values to show, by name: numbers, tensors or text."""
        return {**pl_module.get_progress_bar_dict(), **trainer.progress_bar_metrics}

    def print(self, *values: Any, **options: Any) -> None:
        """Print, as the built-in does, in a way that fits the bar."""
        print(*values, **options)  # noqa: T201  (printing is what it is for)

    # ------------------------------------------------------------------ how far the run is

    @property
    def train_batch_idx(self) -> int:
        """Batches of this epoch that are done."""
        done: int = self.trainer.state.progress.batch
        return done

    @property
    def val_batch_idx(self) -> int:
        """Batches of this validation that are done, of all loaders."""
        done: int = self.trainer.state.evaluated_batches
        return done

    test_batch_idx = predict_batch_idx = val_batch_idx

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

    def __getstate__(self) -> dict[str, Any]:
        # A copy is a bar, not a part of the run that it was taken from.
        return {**self.__dict__, "_trainer": None}
