"""The tuner's searches at the beginning of each fit, as callbacks of 2.x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.callbacks.base import Callback
from engine.tuner.tuner import Tuner

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class LearningRateFinder(Callback):
    """Looks for a learning rate before a fit, and gives it to the module.

    `optimal_lr` is then the result of the search.

    Args:
        min_lr: the first rate that is tried. By default 1e-8.
        max_lr: the last one. By default 1.
        num_training_steps: how many steps the search takes. By default 100.
        mode: how rates grow: `"exponential"` or `"linear"`. By default `"exponential"`.
        early_stop_threshold: the search ends when the loss exceeds this many times the best one;
            None: it never ends early. By default 4.
        update_attr: whether the module gets the rate that is suggested. By default True.
        attr_name: the module's attribute for it. By default `lr` or `learning_rate`.
    """

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1.0,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        self._options: dict[str, Any] = {
            "min_lr": min_lr,
            "max_lr": max_lr,
            "num_training": num_training_steps,
            "mode": mode,
            "early_stop_threshold": early_stop_threshold,
            "update_attr": update_attr,
            "attr_name": attr_name,
        }
        self.optimal_lr: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """Look, before the optimizers are made."""
        if stage == "fit" and not trainer.fast_dev_run:
            train = trainer.given_loaders["train"]
            self.optimal_lr = Tuner(trainer, updates=False).lr_find(
                pl_module, train, datamodule=trainer.datamodule, **self._options
            )


class BatchSizeFinder(Callback):
    """Looks for the largest batch size that there is memory for before a fit, and keeps it.

    `optimal_batch_size` is then the size that was found.

    Args:
        mode: `"power"` doubles the size until memory runs out; `"binsearch"` then looks between the
            last two. By default `"power"`.
        steps_per_trial: how many steps each size must pass. By default 3.
        init_val: the first size, in samples. By default 2.
        max_trials: how many sizes are tried at most. By default 25.
        batch_arg_name: the attribute of the module or data module that holds the size. By default
            `"batch_size"`.
    """

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
    ) -> None:
        self._options: dict[str, Any] = {
            "mode": mode,
            "steps_per_trial": steps_per_trial,
            "init_val": init_val,
            "max_trials": max_trials,
            "batch_arg_name": batch_arg_name,
        }
        self.optimal_batch_size: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """Look, before the loaders are made."""
        if stage == "fit" and not trainer.fast_dev_run:
            train = trainer.given_loaders["train"]
            self.optimal_batch_size = Tuner(trainer, updates=False).scale_batch_size(
                pl_module, train, datamodule=trainer.datamodule, **self._options
            )
