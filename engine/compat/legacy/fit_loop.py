"""`trainer.fit_loop`: the names by which programs of 1.5 and 2.x ask how far a fit goes."""

from __future__ import annotations

from typing import Any


class FitLoopView:
    """Shows how far a trainer trains and has trained; its limits can be set between two fits."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def max_epochs(self) -> int | None:
        """After how many epochs training ends."""
        limit: int | None = self._trainer.max_epochs
        return limit

    @max_epochs.setter
    def max_epochs(self, value: int | None) -> None:
        self._trainer.max_epochs = value

    @property
    def max_steps(self) -> int:
        """After how many optimizer steps training ends."""
        limit: int = self._trainer.max_steps
        return limit

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self._trainer.max_steps = value

    @property
    def min_epochs(self) -> int | None:
        """Before how many epochs training does not end."""
        limit: int | None = self._trainer.min_epochs
        return limit

    @property
    def min_steps(self) -> int | None:
        """Before how many optimizer steps training does not end."""
        limit: int | None = self._trainer.min_steps
        return limit

    @property
    def epoch_loop(self) -> EpochLoopView:
        """How far the epoch is."""
        return EpochLoopView(self._trainer)

    @property
    def current_epoch(self) -> int:
        """Index of the epoch that runs."""
        epoch: int = self._trainer.current_epoch
        return epoch

    @current_epoch.setter
    def current_epoch(self, value: int) -> None:
        self._trainer.current_epoch = value

    @property
    def global_step(self) -> int:
        """Number of optimizer steps taken."""
        step: int = self._trainer.global_step
        return step

    @global_step.setter
    def global_step(self, value: int) -> None:
        self._trainer.global_step = value


class EpochLoopView:
    """What programs ask `trainer.fit_loop.epoch_loop` for; steps may be counted by hand there."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def max_steps(self) -> int:
        """After how many optimizer steps training ends."""
        limit: int = self._trainer.max_steps
        return limit

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self._trainer.max_steps = value

    @property
    def min_steps(self) -> int | None:
        """Before how many optimizer steps training does not end."""
        limit: int | None = self._trainer.min_steps
        return limit

    @property
    def global_step(self) -> int:
        """Number of optimizer steps taken."""
        step: int = self._trainer.global_step
        return step

    _batches_that_stepped = global_step

    @property
    def batch_idx(self) -> int:
        """Batches of this epoch that are done."""
        done: int = self._trainer.state.progress.batch
        return done

    @property
    def total_batch_idx(self) -> int:
        """The same, counted over all epochs."""
        done: int = self._trainer.state.progress.total_batches
        return done

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch that runs is the last of its epoch."""
        is_last: bool = self._trainer.is_last_batch
        return is_last

    @property
    def batch_loop(self) -> EpochLoopView:
        """The loop within, as 1.5 and 1.6 had it."""
        return self

    manual_loop = manual_optimization = batch_loop

    @property
    def optim_step_progress(self) -> StepsByHand:
        """Counts the steps of a module that steps optimizers which the engine does not know."""
        return StepsByHand(self._trainer.state.progress)


class StepsByHand:
    """Counts steps for `trainer.global_step`, where the engine does not see them taken."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress

    def increment_ready(self) -> None:
        """A step is about to be taken."""

    def increment_completed(self) -> None:
        """A step has been taken."""
        self._progress.step += 1

    @property
    def total(self) -> StepsByHand:
        """Of all epochs."""
        return self

    @property
    def completed(self) -> int:
        """Steps taken."""
        step: int = self._progress.step
        return step

    @completed.setter
    def completed(self, value: int) -> None:
        self._progress.step = value
