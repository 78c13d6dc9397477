"""Where a run stands: what a checkpoint must hold, and what the trainer shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.runtime.settings import FitSettings


@dataclass
class Progress:
    """How far the training has come. All of it goes into a checkpoint."""

    epoch: int = 0  # index of the epoch that runs, or of the next one
    step: int = 0  # optimizer steps taken; those of several optimizers in one batch are one
    optimizer_steps: list[int] = field(default_factory=list)  # of each, where there are several
    windows: int = 0  # of accumulation that are done, where several optimizers take turns
    batch: int = 0  # batches of this epoch that are done
    is_last: bool = False  # the one done last was the last of its epoch
    stepped: bool = False  # the one done last ended with a step
    rest: int = 0  # batches done of the epoch before, if the training was stopped within it
    total_batches: int = 0  # batches of all epochs that are done
    validated_at: int = -1  # total_batches at the last validation
    asks: list[int] = field(default_factory=list)  # schedulers that are to look at a metric now
    evaluated: dict[str, int] = field(
        default_factory=dict
    )  # batches, for the steps of their values
    ended_at: int = -1  # total_batches when an epoch's end was reached last, or the training's
    epoch_ended: bool = False  # this epoch's end has been reached: go on with the next
    data_seed: int = 0  # what the order of samples is drawn from

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        copies = {
            "optimizer_steps": list(self.optimizer_steps),
            "evaluated": dict(self.evaluated),
            "asks": list(self.asks),
        }
        return {**vars(self), **copies}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where a checkpoint was taken."""
        for name, default in vars(Progress()).items():
            setattr(self, name, state.get(name, default))
        if self.epoch_ended:
            self.next_epoch()
        self.reopen()

    def next_epoch(self) -> None:
        """The epoch is done: the next one is the one that runs."""
        self.epoch, self.batch, self.epoch_ended, self.is_last = self.epoch + 1, 0, False, False

    def begin_epoch_anew(self, data_seed: int) -> None:
        """Train the epoch that runs from its first batch on, in an order drawn from this seed."""
        self.batch, self.is_last, self.rest, self.asks = 0, False, 0, []
        self.data_seed = data_seed

    def leave(self) -> None:
        """The training ends; if it does so within an epoch, remember where."""
        if self.batch:
            rest = self.batch
            self.next_epoch()
            self.rest = rest

    def reopen(self) -> None:
        """Go back into the epoch that the training was stopped in, if there is one."""
        if self.rest:
            self.epoch, self.batch, self.rest = self.epoch - 1, self.rest, 0


@dataclass
class State:
    """What goes on now; loops write it, users read it through the trainer."""

    progress: Progress = field(default_factory=Progress)
    fn: str | None = None  # fit, validate, test or predict
    status: str = "initializing"  # initializing, running, finished or interrupted
    training: bool = False
    validating: bool = False
    testing: bool = False
    predicting: bool = False
    sanity_checking: bool = False
    tuning: bool = False  # this is a trial of the tuner, which must leave no trace
    should_stop: bool = False
    reloads: bool = False  # loaders are to be asked for anew before the next epoch
    is_last_batch: bool = False
    skipped: int = 0  # how often the training step returned None in this fit, on this rank
    evaluated_batches: int = 0  # of the validation, test or prediction that runs, on this rank
    already_complete: bool = False  # an earlier process has done all of this fit
    accumulation: int | dict[int, int] | None = None  # batches a step, if said while running
    restored_metrics: Any = None  # sums of an epoch that an earlier process began
    epoch_random: Any = None  # random state at the epoch's start, if the order follows from it
    left_by: list[Any] = field(default_factory=list)  # both, of each rank that was a child of ours
    validation_random: Any = None  # random state at the start of a validation that runs in a fit
    asked: dict[int, Any] = field(default_factory=dict)  # the value that each scheduler has seen
    said_short: set[tuple[str, int]] = field(default_factory=set)  # loaders that promised too much
    num_training_batches: int | float = 0
    num_val_batches: list[int | float] = field(default_factory=list)
    num_sanity_val_batches: list[int | float] = field(default_factory=list)
    num_test_batches: list[int | float] = field(default_factory=list)
    num_predict_batches: list[int | float] = field(default_factory=list)

    @property
    def stage(self) -> str | None:
        """Which loop runs: train, sanity_check, validate, test or predict."""
        if self.sanity_checking:
            return "sanity_check"
        if self.validating:
            return "validate"
        return "train" if self.fn == "fit" else self.fn

    @property
    def finished(self) -> bool:
        """Whether the run has ended by itself."""
        return self.status == "finished"

    @property
    def stopped(self) -> bool:
        """Whether the run was interrupted."""
        return self.status == "interrupted"


def accumulation_of(fit: FitSettings, state: State) -> int | dict[int, int]:
    """Batches a step: what a callback or module said, else the trainer's argument."""
    return fit.accumulate_grad_batches if state.accumulation is None else state.accumulation


def window_at(accumulation: int | dict[int, int], epoch: int) -> int:
    """Batches a step in one epoch."""
    if isinstance(accumulation, int):
        return accumulation
    return accumulation[max(first for first in accumulation if first <= epoch)]
