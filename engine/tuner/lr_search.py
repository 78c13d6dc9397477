"""Looking for a learning rate: it grows from step to step, and the losses are noted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from engine.runtime.distributed import world as distributed
from engine.tuner.lr_finder import LRFinder
from engine.tuner.trial import Leaves

SMOOTHNESS = 0.98


class Rising(Leaves):
    """Gives each step its learning rate, and notes the loss of all ranks that came of it.

    Training ends early where the loss is above `threshold` times the best one, or no number.
    """

    def __init__(self, found: LRFinder, rates: list[float], threshold: float | None) -> None:
        self._found = found
        self._rates = rates
        self._threshold = threshold
        self._best = math.inf
        self._average = 0.0
        self._losses: list[torch.Tensor] = []  # of the batches of one step

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, unused: int = 0
    ) -> None:
        """Set the learning rate of the step that begins, or goes on."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx, unused)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._rates[trainer.global_step]

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        unused: int = 0,
    ) -> None:
        """Note the loss, once the step is complete."""
        self._losses.extend(losses_in(outputs))
        done = len(self._found.results["lr"])
        if trainer.global_step == done:
            return
        losses = self._losses or [torch.full((), math.nan, device=pl_module.device)]
        # All ranks decide by the same number.
        loss = float(distributed.all_reduce(torch.stack(losses).mean().double()))
        self._losses = []
        self._average = SMOOTHNESS * self._average + (1 - SMOOTHNESS) * loss
        smoothed = self._average / (1 - SMOOTHNESS ** (done + 1))
        self._found.results["lr"].append(self._rates[done])
        self._found.results["loss"].append(smoothed)
        too_high = self._threshold is not None and smoothed > self._threshold * self._best
        if not math.isfinite(smoothed) or (done > 0 and too_high):
            trainer.should_stop = True
        self._best = min(self._best, smoothed)


def losses_in(outputs: Any) -> Iterator[torch.Tensor]:
    """The losses in what a batch's end is told."""
    if isinstance(outputs, Mapping):
        if isinstance(outputs.get("loss"), torch.Tensor):
            yield outputs["loss"].detach()
    elif isinstance(outputs, (list, tuple)):
        for item in outputs:
            yield from losses_in(item)
