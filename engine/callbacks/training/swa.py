"""Stochastic weight averaging: the mean of the weights of the last epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from engine.callbacks.base import Callback
from engine.callbacks.training.annealing import annealed, checked_strategy
from engine.callbacks.training.batch_norm import update_statistics
from engine.callbacks.training.whole_model import needs_whole_model
from engine.runtime.distributed.world import rank_zero_info
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import State
    from engine.trainer.trainer import Trainer

Average = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
NEVER = 2**62  # a scheduler of this frequency is not stepped


class StochasticWeightAveraging(Callback):
    """Averages the weights at the end of each epoch from `swa_epoch_start` on.

    From there the learning rates go to `swa_lrs` (None: they stay) within `annealing_epochs`, and
    the module's own schedulers rest. After the last epoch the module has the averaged weights, and
    batch norm the statistics that belong to them. `swa_epoch_start` is a share of `max_epochs`, or
    the number of the first epoch, counted from 1. The average lies on `device`, on the module's
    with None.

    Args:
        swa_lrs: the learning rate, or one for each group of parameters, that is kept while weights
            are averaged. By default None: the rates stay as they are.
        swa_epoch_start: the first epoch that is averaged: a float is a share of `max_epochs`, an
            int a number counted from 1. By default 0.8.
        annealing_epochs: how many epochs the rates take to reach `swa_lrs`. By default 10.
        annealing_strategy: how they get there: `"cos"` or `"linear"`. By default `"cos"`.
        avg_fn: `avg_fn(average, value, count)` returns the new average, tensors of one shape;
            `count` is how many values are in `average`. By default None: the mean.
        device: where the average is kept. By default the CPU; None: where the module is.

    Raises:
        MisconfigurationException: a rate, the start or the strategy has no meaning.
    """

    def __init__(
        self,
        swa_lrs: float | list[float] | None = None,
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: str = "cos",
        avg_fn: Average | None = None,
        device: torch.device | str | None = "cpu",
    ) -> None:
        self.swa_lrs = _checked_lrs(swa_lrs)
        self.swa_epoch_start = _checked_start(swa_epoch_start)
        self.annealing_epochs = annealing_epochs
        self.annealing_strategy = checked_strategy(annealing_strategy)
        self.avg_fn = avg_fn
        self.device = device
        self.n_averaged = 0
        self._average: dict[str, torch.Tensor] = {}
        self._first_lrs: list[list[float]] = []  # of each optimizer's groups, once it has begun

    def state_dict(self) -> dict[str, Any]:
        """The average so far, and the rates that the annealing began with."""
        return {
            "n_averaged": self.n_averaged,
            "average": {name: value.clone() for name, value in self._average.items()},
            "first_lrs": self._first_lrs,
        }

    def load_state_dict(self, state_dict: State) -> None:
        """Go on with an average."""
        self.n_averaged = state_dict["n_averaged"]
        self._average = dict(state_dict["average"])
        self._first_lrs = state_dict["first_lrs"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew, or go on where a checkpoint was taken."""
        needs_whole_model(self, trainer)
        self._start = first_epoch(self.swa_epoch_start, trainer.max_epochs)
        if not trainer.global_step:
            self.n_averaged, self._average, self._first_lrs = 0, {}, []
        if self._first_lrs:
            self._rest_schedulers(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the learning rates of the epoch, once averaging has begun."""
        if trainer.current_epoch < self._start:
            return
        optimizers = trainer.optimizers
        if not self._first_lrs:
            self._first_lrs = [[float(g["lr"]) for g in o.param_groups] for o in optimizers]
            self._rest_schedulers(trainer)
        if self.swa_lrs is None:
            return
        done = trainer.current_epoch - self._start
        for optimizer, first in zip(optimizers, self._first_lrs, strict=True):
            ends = _for_each(self.swa_lrs, len(first))
            for group, begin, end in zip(optimizer.param_groups, first, ends, strict=True):
                group["lr"] = annealed(
                    self.annealing_strategy, begin, end, done, self.annealing_epochs
                )

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """Take the weights of this epoch into the average."""
        if trainer.current_epoch >= self._start:
            self._take_in(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the module the average."""
        if not self.n_averaged:
            return
        with torch.no_grad():
            for name, parameter in pl_module.named_parameters():
                parameter.copy_(self._average[name])
        update_statistics(trainer, pl_module)
        rank_zero_info(f"engine: the weights are the average of {self.n_averaged} epochs")

    def _take_in(self, module: LightningModule) -> None:
        count, average = self.n_averaged, self.avg_fn or running_mean
        for name, parameter in module.named_parameters():
            value = parameter.detach()
            if self.device is not None:
                value = value.to(self.device)
            before = self._average.get(name)
            if before is None:
                self._average[name] = value.clone()
            else:
                self._average[name] = average(before.to(value.device), value, count)
        self.n_averaged += 1

    def _rest_schedulers(self, trainer: Trainer) -> None:
        for config in trainer.lr_scheduler_configs:
            config.frequency = NEVER


def running_mean(average: torch.Tensor, value: torch.Tensor, count: Any) -> torch.Tensor:
    """The mean of `count` values and one more."""
    mean: torch.Tensor = average + (value - average) / (count + 1)
    return mean


def first_epoch(start: int | float, max_epochs: int | None) -> int:
    """The index of the first epoch that is averaged."""
    if isinstance(start, int):
        return start - 1
    if max_epochs is None or max_epochs < 0:
        raise MisconfigurationException(
            f"StochasticWeightAveraging(swa_epoch_start={start}) is a share of max_epochs, which "
            "is not given: give the Trainer max_epochs, or an epoch's number here"
        )
    return max(int(max_epochs * start) - 1, 0)


def _checked_lrs(given: Any) -> Any:
    rates = given if isinstance(given, (list, tuple)) else [given]
    if given is not None and any(not isinstance(rate, (int, float)) or rate <= 0 for rate in rates):
        raise MisconfigurationException(
            f"swa_lrs={given!r}: give a rate above 0, a list of them, or None"
        )
    return given


def _checked_start(start: int | float) -> int | float:
    if isinstance(start, float) and 0.0 <= start <= 1.0:
        return start
    if isinstance(start, int) and not isinstance(start, bool) and start > 0:
        return start
    raise MisconfigurationException(
        f"swa_epoch_start={start!r}: give a share of the epochs (0.0 to 1.0), or the number of an "
        "epoch, from 1 on"
    )


def _for_each(rates: float | list[float], count: int) -> list[float]:
    if isinstance(rates, (int, float)):
        return [float(rates)] * count
    if len(rates) != count:
        raise MisconfigurationException(
            f"swa_lrs has {len(rates)} rates; the optimizer has {count} groups of parameters"
        )
    return [float(rate) for rate in rates]
