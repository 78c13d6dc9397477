"""The tuner's searches at the beginning of each fit, as callbacks of 2.x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.callbacks.base import Callback

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class LearningRateFinder(Callback):
    """Looks for a learning rate before a fit, and gives it to the module.

    `optimal_lr` is then the result of the search.
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
            self.optimal_lr = trainer.tuner.lr_find(
                pl_module, train, datamodule=trainer.datamodule, **self._options
            )


class BatchSizeFinder(Callback):
    """Looks for the largest batch size that there is memory for before a fit, and keeps it.

    `optimal_batch_size` is then the size that was found.
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
            self.optimal_batch_size = trainer.tuner.scale_batch_size(
                pl_module, train, datamodule=trainer.datamodule, **self._options
            )
