"""Callbacks and loggers: the user's, and those that are there by default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from engine.callbacks.base import Callback
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import OutputSettings, Settings
from engine.trainer.options import as_list


def make_callbacks(settings: Settings) -> list[Callback]:
    """The user's callbacks, those that arguments ask for, and the default ones; checkpoints come
    last.
    """
    output = settings.output
    callbacks = as_list(output.callbacks)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise MisconfigurationException(
                f"Trainer(callbacks=...): {type(callback).__name__} is no Callback"
            )
    keeps = [c for c in callbacks if hasattr(c, "best_model_path")]
    if keeps and not output.enable_checkpointing and not output.fast_dev_run:
        raise MisconfigurationException(
            f"Trainer(enable_checkpointing=False) with the callback {type(keeps[0]).__name__}: "
            "leave out one of the two"
        )
    if output.enable_checkpointing and not keeps:
        from engine.callbacks.checkpoint.model_checkpoint import ModelCheckpoint

        callbacks.append(ModelCheckpoint())
    if output.enable_progress_bar:
        from engine.callbacks.progress.bar import ProgressBar, ProgressBarBase

        if not any(isinstance(c, ProgressBarBase) for c in callbacks):
            rate = output.refresh_rate
            rate = 1 if rate is None else rate
            callbacks.append(ProgressBar(rate, output.process_position))
    if output.enable_model_summary:
        from engine.callbacks.monitors.summary import ModelSummary

        if not any(isinstance(c, ModelSummary) for c in callbacks):
            callbacks.append(ModelSummary(max_depth=output.summary_depth))
    return checkpoints_last([*callbacks, *asked_for(settings, callbacks)])


def asked_for(settings: Settings, there: Sequence[Callback]) -> list[Callback]:
    """The callbacks that arguments stand for; one that is there already is not made again."""
    fit, output = settings.fit, settings.output
    callbacks: list[Callback] = []
    if fit.stochastic_weight_avg:
        from engine.callbacks.training.swa import StochasticWeightAveraging

        if not any(isinstance(c, StochasticWeightAveraging) for c in there):
            callbacks.append(StochasticWeightAveraging())
    if fit.terminate_on_nan:
        from engine.callbacks.stopping.terminate_on_nan import TerminateOnNaN

        callbacks.append(TerminateOnNaN())
    if fit.track_grad_norm != -1:
        from engine.callbacks.monitors.grad_norm import GradientNorm

        callbacks.append(GradientNorm(fit.track_grad_norm))
    if output.log_gpu_memory is not None:
        from engine.callbacks.monitors.gpu_memory import GpuMemory

        callbacks.append(GpuMemory(output.log_gpu_memory))
    if fit.max_time is not None:
        from engine.callbacks.stopping.timer import Timer

        callbacks.append(Timer(fit.max_time))
    return callbacks


def checkpoints_last(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks with those last that save: they see what all others did."""
    return sorted(callbacks, key=lambda callback: hasattr(callback, "best_model_path"))


def with_module_callbacks(
    callbacks: list[Callback], module: Any, replaces: bool = True
) -> list[Callback]:
    """The callbacks with the module's own, which replace those of the same class.

    After a fit (`replaces=False`) those stay: they know its best checkpoint.
    """
    own = as_list(module.configure_callbacks())
    if not replaces:
        own = [c for c in own if not any(type(c) is type(there) for there in callbacks)]
    if not own:
        return callbacks
    classes = {type(callback) for callback in own}
    kept = [c for c in callbacks if type(c) not in classes and c not in own]
    return checkpoints_last([*kept, *own])


def make_loggers(output: OutputSettings, fit_folder: str | None) -> list[Any]:
    """The loggers that `logger=` means: True is TensorBoard, in the run's folder.

    In a fast_dev_run one that keeps nothing stands for all.
    """
    if output.logger is False:
        return []
    from engine.loggers import DummyLogger, Logger, TensorBoardLogger
    from engine.loggers.collection import TrainerLoggers
    from engine.loggers.folders.versions import share_names

    if output.fast_dev_run:
        return [DummyLogger()]
    by_default = output.logger is None or output.logger is True
    loggers = [TensorBoardLogger()] if by_default else as_list(output.logger)
    root, version = output.default_root_dir or os.getcwd(), None
    if fit_folder is not None:
        root, version = os.path.split(fit_folder)
    together = TrainerLoggers(loggers if isinstance(output.logger, (list, tuple)) else ())
    for logger in loggers:
        if isinstance(logger, Logger):
            logger.set_root(root, version)
            logger._trainer_loggers = together
    share_names(together)
    return loggers
