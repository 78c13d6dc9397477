"""A fit, from its data to its end: what the Trainer's verb of that name goes through."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from engine.loops.evaluate import Plan
from engine.loops.fit import FitPlan, Reloaded
from engine.loops.optimizers import configure
from engine.loops.run import Run, to_device_function
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.seed import fresh_seed
from engine.runtime.storage import run_folder as rundir
from engine.trainer import lifecycle
from engine.trainer.plans import (
    most_batches,
    reloaded,
    sanity_plan,
    steps_of_fit,
    training_loader,
    validation_plan,
)
from engine.trainer.saving import resume
from engine.trainer.saving.preemption import PreemptionWatch, remove_outdated
from engine.trainer.saving.select import path_or_name


def begin_fit(trainer: Any) -> None:
    """Say what is to be known before, and take the next of this process's fits' folders."""
    while trainer._notices:
        rank_zero_info(f"engine: {trainer._notices.pop(0)}")
    ordinal = rundir.next_ordinal()
    if trainer._ordinal is not None and trainer._ordinal != ordinal and rundir.launched_dir():
        trainer._loggers = None  # each fit has a folder of its own
    trainer._ordinal = ordinal
    trainer._state.should_stop = trainer._state.reloads = False
    run_dir = rundir.launched_dir()
    trainer._index = rundir.Index.of_fit(run_dir, ordinal) if run_dir else None


def planned(
    trainer: Any, run: Run, val: Any, path: Any, weights_only: bool
) -> tuple[Run, FitPlan | None]:
    """The run with its optimizers, and what there is to train, if there is anything."""
    state, progress, before = run.state, run.state.progress, trainer._training
    content = None
    state.asked, state.restored_metrics = {}, state.restored_metrics if progress.rest else None
    state.validation_random = None
    if path is not None:
        trainer.ckpt_path = path_or_name(path)
        content = resume.read_for(run, path, weights_only)
        resume.load_weights(run, content, path)
        resume.load_callbacks(run, content, trainer.callbacks, trainer)
    elif progress.rest:
        progress.reopen()
    else:
        progress.begin_epoch_anew(run.strategy.broadcast(fresh_seed()))
    run.strategy.to_device(run.module)
    trainer._training = None
    run = _configured(trainer, run)
    if content is not None:
        resume.load_training(run, content)
        trainer._training = None  # the order of samples follows from the seed that was kept
    lifecycle.log_hyperparameters(run)
    forward = run.strategy.wrap(run.module, len(run.optimization.optimizers) > 1)
    run.hooks.call("on_fit_start")
    loader, count = _training_data(trainer)
    if content is None and before is not None and count != before[1]:  # of other data
        progress.begin_epoch_anew(progress.data_seed)
        state.restored_metrics = None
    validation = validation_plan(run, val, loader)
    _show(trainer, validation)
    trainer._state.num_val_batches = [] if validation is None else most_batches(run, validation)
    sanity = sanity_plan(run, validation)
    trainer._state.num_sanity_val_batches = [] if sanity is None else list(sanity.counts)
    to_device = to_device_function(run)
    if content is not None:
        resume.load_random(run, content)
    if not count or trainer._state.already_complete:
        progress.leave()
        return run, None
    every = run.settings.fit.log_every_n_steps
    if run.loggers and count < every and not trainer._settings.output.fast_dev_run:
        rank_zero_info(
            f"engine: an epoch has {count} batches, log_every_n_steps is {every}: loggers get "
            "no step's values of some epochs"
        )
    watch = PreemptionWatch(trainer, run, trainer._ordinal or 0, trainer._index)
    watch.before_training()
    data = (to_device, forward, validation, sanity)
    return run, FitPlan(
        loader, count, *data, watch.stop_if_agreed, partial(_reload, trainer, run, val)
    )


def end_fit(trainer: Any, run: Run) -> None:
    """Mark the run complete, and call the last hook."""
    run.strategy.end_training()
    if trainer._index is not None and trainer.is_global_zero:
        trainer._index.finish(run.state.progress.step)
        remove_outdated(trainer._index)
    run.hooks.call("on_fit_end")


def _configured(trainer: Any, run: Run) -> Run:
    """The run with the optimizers that the module wants."""
    assigned = trainer._optimization
    with run.logged.within("configure_optimizers"):
        returned = run.module.configure_optimizers()
    if assigned.is_assigned and returned is None:
        returned = list(assigned.optimizers)
    elif assigned.is_assigned and assigned.optimizers:
        rank_zero_warn(
            "trainer.optimizers was set before fit, which takes what `configure_optimizers` "
            "returns: set it in on_fit_start or on_train_start, or return them there"
        )
    optimization = configure(
        returned, run.module.automatic_optimization, run.settings.fit.max_epochs
    )
    trainer._optimization = optimization
    run = trainer._run = replace(run, optimization=optimization)
    run.hooks.callbacks_only("on_optimizers_made")  # for those that add groups to them
    return run


def _training_data(trainer: Any) -> tuple[Any, int | float]:
    if trainer._run is None:
        raise MisconfigurationException(
            "which batches there are is known once fit has begun: ask for "
            "estimated_stepping_batches in configure_optimizers or a hook"
        )
    if trainer._training is None:
        given = trainer.given_loaders["train"]
        trainer._training = training_loader(trainer._run, given)
        trainer.train_dataloader, trainer._state.num_training_batches = trainer._training
    data: tuple[Any, int | float] = trainer._training
    return data


def _reload(trainer: Any, run: Run, val: Any) -> Reloaded:
    trainer._training = None
    new = reloaded(run, *_training_data(trainer), val)
    _show(trainer, new.validation)
    return new


def _show(trainer: Any, validation: Plan | None) -> None:
    trainer.val_dataloaders = None if validation is None else list(validation.loaders)


def reset_training_loader(trainer: Any) -> None:
    """Ask for the training loader anew (1.x): at once, or in an epoch before the next one."""
    if not _reloads_later(trainer):
        trainer._training = None
        _training_data(trainer)


def reset_validation_loaders(trainer: Any) -> None:
    """Ask for the validation loaders anew (1.x): at once, or in an epoch before the next."""
    if not _reloads_later(trainer):
        assert trainer._run is not None
        given, train = trainer.given_loaders.get("val"), _training_data(trainer)[0]
        _show(trainer, validation_plan(trainer._run, given, train))


def _reloads_later(trainer: Any) -> bool:
    state = trainer._state
    if state.fn != "fit" or state.status != "running" or trainer._run is None:
        raise MisconfigurationException(
            "loaders are asked for by a run: call reset_train_dataloader and "
            "reset_val_dataloader in a hook of a fit; before it there is nothing to reset"
        )
    is_later: bool = state.training or state.validating
    state.reloads = is_later
    return is_later


def steps_in_all(trainer: Any) -> int | float:
    """Optimizer steps of the whole fit, infinity where that is not known."""
    return steps_of_fit(trainer._settings.fit, _training_data(trainer)[1], trainer.accumulation)
