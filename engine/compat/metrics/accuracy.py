"""Accuracy as a metric that sums up over batches and ranks; `self.log` takes it."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import Metric

from engine.metrics.functional import count_correct


class Accuracy(Metric):
    """The share of predictions that are right, of all batches since the last reset.

    As in 1.x it needs to know neither the task nor the number of classes: see
    `functional.accuracy` for what it accepts.
    """

    full_state_update = False
    higher_is_better = True
    correct: torch.Tensor
    total: torch.Tensor

    def __init__(
        self,
        threshold: float = 0.5,
        top_k: int | None = None,
        compute_on_step: bool | None = None,
        num_classes: int | None = None,
        task: str | None = None,
        **options: Any,
    ) -> None:
        del compute_on_step, num_classes, task  # what they said, the data say
        super().__init__(**options)
        self.threshold, self.top_k = threshold, top_k
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        """Count one batch."""
        correct, total = count_correct(preds, target, self.threshold, self.top_k)
        self.correct += correct
        self.total += total

    def compute(self) -> torch.Tensor:
        """The share so far."""
        return self.correct / self.total
