"""Everything around a run: what is set up before, and cleaned up whatever happened."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from engine.loops.hooks import fitted
from engine.loops.run import Run
from engine.runtime.distributed.agent_client import line
from engine.runtime.distributed.world import World, rank_zero_info, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import DataSettings, FitSettings


def prepare(run: Run) -> None:
    """Prepare data on one process, or on one of each node, while the others wait."""
    prepare_data(run.strategy.world, run.settings.data, run.datamodule, run.module)
    run.strategy.barrier()


def set_up(run: Run, verb: str) -> None:
    """Agree on folders, and call everybody's `setup`."""
    hooks = run.hooks
    run.strategy.lightning_module = run.module
    settle_loggers(run)
    hooks.call("on_before_accelerator_backend_setup")
    if run.datamodule is not None:
        fitted(run.datamodule.setup, 1)(verb)
    hooks.call("setup", verb)
    hooks.module_only("configure_model")
    hooks.module_only("configure_sharded_model")
    hooks.call("on_configure_sharded_model")
    run.precision.convert(run.module)


def attach(module: Any, trainer: Any, logged: Any) -> tuple[Any, Any]:
    """Give the module its trainer and what logs; returns those of a run that is around this one."""
    if not isinstance(module, torch.nn.Module) or not hasattr(module, "_logged"):
        raise MisconfigurationException(_no_module(module))
    outer = (module.__dict__.get("_trainer"), module.__dict__.get("_logged"))
    module.trainer = trainer
    module.__dict__["_logged"], logged.module = logged, module
    return outer


def _no_module(given: Any) -> str:
    """What to do where something else than a LightningModule of ours was given."""
    if isinstance(given, type):
        return f"{given.__name__} is a class; give an instance of it: {given.__name__}(...)"
    roots = {base.__module__.split(".")[0] for base in type(given).__mro__}
    theirs = sorted(roots & {"pytorch_lightning", "lightning"})
    if theirs:
        return (
            f"{type(given).__name__} is a LightningModule of {theirs[0]}, and this Trainer is the "
            f"engine's: import both from engine, or run the script unchanged with `python -m "
            f"engine.compat {theirs[0]} script.py`"
        )
    return (
        f"{type(given).__name__} is no engine.LightningModule: derive it from that, and call "
        "super().__init__() first; engine.wrap makes one of any torch module"
    )


def detach(run: Run) -> None:
    """Give the module back to the run around this one; without any it logs nowhere again."""
    trainer, logged = run.outer
    run.module.__dict__["_logged"] = logged
    if logged is not None:
        run.module.trainer = trainer
    else:
        run.hooks.take_back()


def after_failure(run: Run, error: BaseException) -> None:
    """Tell callbacks and the module of an exception."""
    if isinstance(error, Exception):  # neither Ctrl-C nor a preemption
        line().failed(run.state.progress.step, run.state.progress.epoch)
    run.hooks.call("on_exception", error)
    if isinstance(error, KeyboardInterrupt):
        rank_zero_info("engine: interrupted; the last checkpoint is kept")
        run.hooks.call("on_keyboard_interrupt")


def tear_down(run: Run, verb: str, status: str) -> None:
    """Give the module back as it was, call everybody's `teardown`, close loggers."""
    if not run.is_inner:
        run.strategy.unwrap()
    run.logged.close_training()
    run.hooks.call("teardown", verb)
    if run.datamodule is not None:
        fitted(run.datamodule.teardown, 1)(verb)
    detach(run)
    if run.is_global_zero and not run.is_inner:  # the run around it logs on
        for logger in run.loggers:
            logger.finalize(status)


def anomalies(fit: FitSettings) -> AbstractContextManager[object]:
    """Let autograd say which forward operation made a gradient that is no number, if asked for."""
    return torch.autograd.set_detect_anomaly(True) if fit.detect_anomaly else nullcontext()


def prepare_data(world: World, data: DataSettings, *owners: Any) -> None:
    """Call `prepare_data` where it is this process's turn; attributes set there would be missing on
    other ranks.
    """
    for owner in owners:
        if owner is None:
            continue
        # Since 1.5 module and data module say it themselves; the Trainer's word may only restrict.
        per_node = data.prepare_data_per_node and getattr(owner, "prepare_data_per_node", True)
        if (world.local_rank if per_node else world.rank) != 0:
            continue
        before = _attributes(owner)
        owner.prepare_data()
        after = _attributes(owner)
        new = sorted(name for name in after if after[name] is not before.get(name, before))
        if new:
            rank_zero_warn(
                f"`prepare_data` of {type(owner).__name__} has set {', '.join(new)}: it runs in "
                "one process only, other ranks do not have them. Set attributes in `setup`"
            )


def _attributes(owner: Any) -> dict[str, Any]:
    """What is set on an object; a module keeps its parameters and layers in dicts of their own."""
    kept = dict(vars(owner))
    if isinstance(owner, torch.nn.Module):
        kept.update(owner.named_parameters(recurse=False))
        kept.update(owner.named_buffers(recurse=False))
        kept.update(owner.named_children())
    return kept


def settle_loggers(run: Run) -> None:
    """Make all ranks agree on the versions of the loggers."""
    if run.loggers:
        from engine.loggers.folders.versions import settle_versions

        settle_versions(run.loggers, run.strategy.broadcast, run.strategy.barrier)


def log_hyperparameters(run: Run) -> None:
    """Hand the hyper-parameters of module and data module to the loggers, from rank zero."""
    if not run.is_global_zero:
        return
    params: dict[str, Any] = {}
    for owner in (run.datamodule, run.module):
        if owner is not None and getattr(owner, "_log_hparams", False):
            params.update(owner.hparams_initial)
    wanted = run.settings.output.enable_autolog_hparams
    for logger in run.loggers:
        if params and wanted:
            logger.log_hyperparams(params)
        if run.strategy.holds_all:
            logger.log_graph(run.module)
        elif getattr(logger, "_log_graph", False):
            rank_zero_warn(
                "log_graph=True: a model that is divided among the ranks has no graph to draw; "
                "strategy='ddp' has"
            )
        logger.save()


_reported: dict[str, Any] = {}  # of all trainers of this process: a rank has one value


def report(trainer: Any, metrics: Mapping[str, float]) -> None:
    """Tell the launcher, if there is one, what came out so far."""
    if not line().is_open:
        return
    callback = trainer.checkpoint_callback
    _reported.update(metrics)
    _reported["engine"] = {
        "best_model_path": (callback.best_model_path if callback is not None else "") or None,
        "last_model_path": (callback.last_model_path if callback is not None else "") or None,
        "monitor": getattr(callback, "monitor", None),
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
