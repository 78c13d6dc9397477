"""Batches a step, by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.callbacks.base import Callback
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class GradientAccumulationScheduler(Callback):
    """Takes a step after so many batches from an epoch on: `{epoch: batches}`.

    The same as `Trainer(accumulate_grad_batches={epoch: batches})`; epochs count from 0, and before
    the first that is named each batch is a step.

    Args:
        scheduling: how many batches make up one optimizer step, by the index of the first epoch
            that it holds for.

    Raises:
        MisconfigurationException: an epoch is negative, or a number of batches is below 1; in the
            fit, if the Trainer has an `accumulate_grad_batches` of its own.

    Example:
        One batch a step at first, four from epoch 5 on::

            Trainer(callbacks=[GradientAccumulationScheduler({5: 4})])
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        numbers = [*scheduling, *scheduling.values()]
        are_whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
        if not numbers or not are_whole or min(scheduling) < 0 or min(scheduling.values()) < 1:
            raise MisconfigurationException(
                f"GradientAccumulationScheduler({dict(scheduling)}): give {{epoch: batches}}, "
                "epochs from 0 on and batches from 1 on"
            )
        self.scheduling = {0: 1, **scheduling}
        self.epochs = sorted(self.scheduling)

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Batches a step in an epoch."""
        return self.scheduling[max(first for first in self.epochs if first <= epoch)]

    def going_to_accumulate_grad_batches(self) -> bool:
        """Whether there is any epoch in which a step takes several batches."""
        return max(self.scheduling.values()) > 1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """Before a fit: tell the trainer."""
        if stage != "fit":
            return
        if trainer.accumulate_grad_batches != 1 and trainer.accumulation is not self.scheduling:
            raise MisconfigurationException(
                "Trainer(accumulate_grad_batches=...) and a GradientAccumulationScheduler say "
                "both how many batches a step takes: leave out one of the two"
            )
        trainer.accumulate_grad_batches = self.scheduling
