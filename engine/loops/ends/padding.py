"""A batch of training that a rank has only to keep step with the others.

Where the last round of an epoch has fewer samples than ranks, the ranks left over repeat one. Its
gradient is averaged with the others'; values and metrics count each sample once.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.loops.ends.uneven import copied, restore
from engine.loops.run import Run
from engine.module.logging.values import is_metric
from engine.runtime.data.samplers import Padding, padding_of
from engine.runtime.distributed import world as distributed


class Repeated:
    """The padding batch while it runs: how many ranks have samples of their own in it."""

    def __init__(self, padding: Padding, module: Any) -> None:
        self.ranks = padding.ranks
        self.is_mine = padding.is_mine
        metrics = [one for one in module.modules() if is_metric(one)] if self.is_mine else []
        self._before = [(metric, copied(metric)) for metric in metrics]

    def all_reduce(self, value: torch.Tensor, op: str) -> torch.Tensor:
        """A step's value over the ranks that have samples of their own."""
        if op not in ("mean", "sum"):  # the sample that is repeated changes nothing
            return distributed.all_reduce(value, op)
        own = torch.zeros_like(value) if self.is_mine else value
        total = distributed.all_reduce(own, "sum")
        return total / self.ranks if op == "mean" else total

    def end(self) -> None:
        """Let metrics be as before, on a rank that has only repeated a sample."""
        for metric, before in self._before:
            restore(metric, before)


def begin_last(run: Run, loader: Any, batch_idx: int) -> bool:
    """The last batch of an epoch begins: `run.logged` knows if it is a padding one."""
    padding = padding_of(loader)
    if padding is not None and padding.batch_idx == batch_idx:
        run.logged.repeated = Repeated(padding, run.module)
    return True


def end_last(run: Run) -> None:
    """The last batch of an epoch is done, with its hooks."""
    if run.logged.repeated is not None:
        run.logged.repeated.end()
        run.logged.repeated = None
