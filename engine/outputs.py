"""What surrounds a run: default callbacks and loggers, the weights to evaluate, results."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from engine.callbacks.base import Callback
from engine.distributed import rank_zero_warn
from engine.errors import MisconfigurationException
from engine.logged import to_floats
from engine.loops.evaluate import Plan
from engine.options import as_list
from engine.reports import line
from engine.run import Run
from engine.settings import HardwareSettings, OutputSettings

# ---------------------------------------------------------------------- callbacks


def make_callbacks(output: OutputSettings) -> list[Callback]:
    """The user's callbacks and those that are there by default; checkpoints come last."""
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
        from engine.callbacks.model_checkpoint import ModelCheckpoint

        callbacks.append(ModelCheckpoint())
    if output.enable_progress_bar:
        from engine.callbacks.progress import ProgressBar

        if not any(isinstance(c, ProgressBar) for c in callbacks):
            rate = output.refresh_rate
            callbacks.append(ProgressBar() if rate is None else ProgressBar(refresh_rate=rate))
    if output.enable_model_summary:
        from engine.callbacks.summary import ModelSummary

        if not any(isinstance(c, ModelSummary) for c in callbacks):
            callbacks.append(ModelSummary(max_depth=output.summary_depth))
    return checkpoints_last(callbacks)


def checkpoints_last(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks with those last that save: they see what all others did."""
    return sorted(callbacks, key=lambda callback: hasattr(callback, "best_model_path"))


def with_module_callbacks(callbacks: list[Callback], module: Any) -> list[Callback]:
    """The callbacks with the module's own, which replace those of the same class."""
    own = as_list(module.configure_callbacks())
    if not own:
        return callbacks
    classes = {type(callback) for callback in own}
    kept = [c for c in callbacks if type(c) not in classes and c not in own]
    return checkpoints_last([*kept, *own])


# ---------------------------------------------------------------------- loggers


def make_loggers(output: OutputSettings, fit_folder: str | None) -> list[Any]:
    """The loggers that `logger=` means: True is TensorBoard, in the run's folder."""
    if output.logger is None or output.logger is True:
        from engine.loggers.tensorboard import TensorBoardLogger

        if fit_folder is not None:
            root, version = os.path.split(fit_folder)
            return [TensorBoardLogger(root, "", version)]
        return [TensorBoardLogger(output.default_root_dir or os.getcwd(), "lightning_logs")]
    if output.logger is False or output.fast_dev_run:
        return []
    return as_list(output.logger)


def settle_loggers(run: Run) -> None:
    """Make all ranks agree on the versions of the loggers."""
    if run.loggers:
        from engine.loggers.base import settle_versions

        settle_versions(run.loggers, run.strategy.broadcast, run.strategy.barrier)


def log_hyperparameters(run: Run) -> None:
    """Hand the hyper-parameters of module and data module to the loggers, from rank zero."""
    if not run.is_global_zero:
        return
    params: dict[str, Any] = {}
    for owner in (run.datamodule, run.module):
        if owner is not None and getattr(owner, "_log_hparams", False):
            params.update(owner.hparams_initial)
    for logger in run.loggers:
        if params:
            logger.log_hyperparams(params)
        logger.log_graph(run.module)
        logger.save()


# ---------------------------------------------------------------------- a run's beginning


def make_deterministic(hardware: HardwareSettings) -> None:
    """Let torch use only deterministic algorithms, where that is asked for."""
    if hardware.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=hardware.deterministic == "warn")
    if hardware.benchmark is not None:
        torch.backends.cudnn.benchmark = bool(hardware.benchmark)


def prepare_data(run: Run) -> None:
    """Call `prepare_data`; attributes set there would be missing on other ranks."""
    for owner in (run.datamodule, run.module):
        if owner is None:
            continue
        before = set(vars(owner))
        owner.prepare_data()
        new = sorted(set(vars(owner)) - before)
        if new:
            rank_zero_warn(
                f"`prepare_data` of {type(owner).__name__} has set {', '.join(new)}: it runs in "
                "one process only, other ranks do not have them. Set attributes in `setup`"
            )


def sanity_plan(run: Run, plan: Plan | None) -> Plan | None:
    """The first few batches of a validation; None where there is nothing to check."""
    limit = run.settings.fit.num_sanity_val_steps
    if plan is None or limit == 0:
        return None
    if limit == -1:
        return plan
    return replace(plan, counts=[min(count, limit) for count in plan.counts])


# ---------------------------------------------------------------------- which weights


def named_checkpoint(trainer: Any, name: str) -> str:
    """The file that "best" or "last" means."""
    callback = trainer.checkpoint_callback
    path = ""
    if callback is not None:
        path = callback.best_model_path if name == "best" else callback.last_model_path
        if name == "last" and not path:
            path = callback.best_model_path if callback.monitor is None else ""
    if not path:
        raise MisconfigurationException(
            f'ckpt_path="{name}": there is no such checkpoint. '
            + (
                "Nothing was saved; look at the callback's monitor and save_top_k"
                if callback is not None
                else "Checkpointing is off; give a path, or pass the model to use its weights"
            )
        )
    return str(path)


def checkpoint_to_evaluate(trainer: Any, model_given: bool, ckpt_path: Any) -> str | None:
    """The checkpoint whose weights are evaluated; None for the weights that the module has."""
    if ckpt_path in ("best", "last"):
        path = named_checkpoint(trainer, ckpt_path)
    elif ckpt_path is not None:
        path = os.path.abspath(os.fspath(ckpt_path))
    elif model_given or trainer.checkpoint_callback is None or trainer.fast_dev_run:
        return None
    else:
        path = named_checkpoint(trainer, "best")
    return str(trainer.strategy.broadcast(path))


# ---------------------------------------------------------------------- results

_reported: dict[str, Any] = {}  # of all trainers of this process: a rank has one value


def plain_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as numbers."""
    return to_floats(metrics)


def report(trainer: Any, metrics: Mapping[str, float]) -> None:
    """Tell the launcher, if there is one, what came out so far."""
    if not line().is_open:
        return
    callback = trainer.checkpoint_callback
    _reported.update(metrics)
    _reported["engine"] = {
        "best_model_path": (callback.best_model_path if callback is not None else "") or None,
        "last_model_path": (callback.last_model_path if callback is not None else "") or None,
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
    }
    line().report(_reported)


def print_results(verb: str, results: Sequence[Mapping[str, float]]) -> None:
    """A table of the metrics, one column a loader."""
    names = sorted({name for one in results for name in one})
    if not names:
        return
    width = max(len(name) for name in (*names, f"{verb} metric"))
    heads = ["value"] if len(results) == 1 else [f"loader {i}" for i in range(len(results))]
    rows = [f"{f'{verb} metric':<{width}}  " + "  ".join(f"{head:>12}" for head in heads)]
    for name in names:
        cells = [f"{one[name]:>12.6g}" if name in one else " " * 12 for one in results]
        rows.append(f"{name:<{width}}  " + "  ".join(cells))
    rule = "-" * len(rows[0])
    sys.stdout.write("\n".join([rule, rows[0], rule, *rows[1:], rule]) + "\n")
    sys.stdout.flush()
