"""The part of a trainer that tunes: `trainer.tune`, `trainer.tuner`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from engine.loops.fit import fit
from engine.runtime.coordination.signals import listening
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException, Preempted
from engine.runtime.settings import Settings
from engine.runtime.storage import run_folder as rundir
from engine.strategies.base import Strategy
from engine.strategies.choose import join_process_group
from engine.trainer.saving.preemption import was_left_alone
from engine.tuner.tuner import Tuner


class TrainerTuner:
    """What makes a trainer look for a learning rate or a batch size before it trains."""

    _settings: Settings
    strategy: Strategy

    @property
    def tuner(self) -> Tuner:
        """The searches by hand: `trainer.tuner.lr_find(model)`."""
        return Tuner(self, updates=False)

    def tune(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        scale_batch_size_kwargs: Mapping[str, Any] | None = None,
        lr_find_kwargs: Mapping[str, Any] | None = None,
        train_dataloader: Any = None,
    ) -> dict[str, Any]:
        """Look for what `auto_scale_batch_size` and `auto_lr_find` ask for, and keep it.

        Only the values that were found stay: all else is afterwards as it was before.
        """
        wanted = self._settings.tune
        train = train_dataloaders if train_dataloaders is not None else train_dataloader
        if not callable(getattr(model, "training_step", None)):
            raise MisconfigurationException(
                f"{type(model).__name__} has no `training_step`: tune needs one"
            )
        if not wanted.auto_scale_batch_size and not wanted.auto_lr_find:
            rank_zero_warn(
                "trainer.tune does nothing without Trainer(auto_lr_find=...) or "
                "Trainer(auto_scale_batch_size=...)"
            )
        tuner = self.tuner
        found: dict[str, Any] = {}
        with listening(rundir.launched_dir() is not None, stays=True):
            try:
                if wanted.auto_scale_batch_size:
                    given = {
                        "mode": wanted.auto_scale_batch_size,
                        **(scale_batch_size_kwargs or {}),
                    }
                    found["scale_batch_size"] = tuner.scale_batch_size(
                        model, train, datamodule=datamodule, **given
                    )
                if wanted.auto_lr_find:
                    given = {"update_attr": True, **(lr_find_kwargs or {})}
                    found["lr_find"] = tuner.lr_find(model, train, datamodule=datamodule, **given)
            except RuntimeError as error:
                if was_left_alone("tune", error):
                    raise Preempted from error
                raise
        return {name: value for name, value in found.items() if value is not None}

    def join_ranks(self) -> Strategy:
        """The strategy, with all ranks there."""
        self.strategy = join_process_group(self.strategy, self._settings.hardware)
        return self.strategy

    def run_trial(
        self, settings: Settings, strategy: Any, module: Any, train: Any, datamodule: Any
    ) -> None:
        """Fit as another trainer would, which shares nothing with this one but the strategy."""
        trial: Any = copy.copy(self)
        trial._open(settings, strategy or self.strategy)
        trial._state.tuning = True
        trial.given_loaders = {"train": train}
        with trial._running("fit", module, datamodule) as run:
            run, plan = trial._planned(run, None, None, True)
            if plan is not None:
                fit(run, plan)
            trial._end_fit(run)
