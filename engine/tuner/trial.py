"""One trial: a short fit by a trainer of its own, without validation, loggers or files."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from engine.callbacks.base import Callback
from engine.loggers.dummy import DummyLogger
from engine.loops.fit import fit
from engine.loops.optimizers import configure
from engine.runtime.coordination.signals import preemption
from engine.runtime.errors import Preempted
from engine.runtime.settings import Settings, TuneSettings
from engine.strategies.base import Strategy
from engine.strategies.choose import join_process_group
from engine.trainer.fit import end_fit, planned


class Leaves(Callback):
    """Ends a trial where the process is told to make room: there is nothing to save."""

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, unused: int = 0
    ) -> None:
        """Look before each batch."""
        if preemption.signal is not None:
            raise Preempted


def settings_of_trial(settings: Settings, steps: int, probe: Callback) -> Settings:
    """The settings of a trainer that takes `steps` steps and lets only `probe` watch."""
    # As many epochs as the user wants, since modules compute with them, if they are enough.
    epochs = settings.fit.max_epochs
    fit = replace(
        settings.fit,
        max_epochs=None if epochs is None else max(steps, epochs) if epochs >= 0 else -1,
        min_epochs=None,
        max_steps=steps,
        min_steps=None,
        num_sanity_val_steps=0,
        max_time=None,
        stochastic_weight_avg=False,
        track_grad_norm=-1,
        terminate_on_nan=False,
        detect_anomaly=False,
    )
    output = replace(
        settings.output,
        logger=DummyLogger(),
        callbacks=[probe],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        ckpt_path=None,
        profiler=None,
        log_gpu_memory=None,
    )
    return replace(settings, fit=fit, output=output, tune=TuneSettings(False, None))


def join_ranks(trainer: Any) -> Strategy:
    """The strategy of a trainer, with all ranks there."""
    strategy = trainer.strategy = join_process_group(trainer.strategy, trainer._settings.hardware)
    return strategy


def run_trial(trainer: Any, settings: Settings, strategy: Any, model: Any, data: Any) -> None:
    """Fit as another trainer would, which shares nothing with `trainer` but the strategy.

    `data` are a loader and a data module, each of which may be None.
    """
    train, datamodule = data
    trial: Any = copy.copy(trainer)
    trial._open(settings, strategy or trainer.strategy)
    trial._state.tuning = True
    trial.given_loaders = {"train": train}
    with trial._running("fit", model, datamodule) as run:
        run, plan = planned(trial, run, None, None, True)
        if plan is not None:
            fit(run, plan)
        end_fit(trial, run)


def lay_bare(module: Any, datamodule: Any) -> None:
    """Leave a module without callbacks of its own and schedulers, with its data prepared.

    Whoever calls this puts the two back from a snapshot.
    """
    optimizers = module.configure_optimizers
    module.__dict__["configure_callbacks"] = list
    module.__dict__["configure_optimizers"] = lambda: configure(optimizers(), False).optimizers
    for owner in (module, datamodule):
        if owner is not None:
            owner.__dict__["prepare_data"] = _nothing


def _nothing() -> None:
    """In the place of `prepare_data`, which has been called."""
