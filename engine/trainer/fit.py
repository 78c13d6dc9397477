"""A fit, from its data to its end: what the Trainer's verb of that name goes through."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from engine.loops.evaluate import Plan
from engine.loops.fit import FitPlan, Reloaded
from engine.loops.optimizers import configure
from engine.loops.run import Run, to_device_function
from engine.module.module import LightningModule
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
from engine.trainer.view import TrainerView


class TrainerFit(TrainerView):
    """The part of a trainer that trains."""

    _run: Run | None
    _index: rundir.Index | None
    _loggers: list[Any] | None
    _ordinal: int | None
    _notices: list[str]
    _training: tuple[Any, int | float] | None
    given_loaders: dict[str, Any]
    train_dataloader: Any
    val_dataloaders: Any
    ckpt_path: str | None

    def _begin_fit(self) -> None:
        while self._notices:
            rank_zero_info(f"engine: {self._notices.pop(0)}")
        ordinal = rundir.next_ordinal()
        if self._ordinal is not None and self._ordinal != ordinal and rundir.launched_dir():
            self._loggers = None  # each fit has a folder of its own
        self._ordinal = ordinal
        self._state.should_stop = self._state.reloads = False
        run_dir = rundir.launched_dir()
        self._index = rundir.Index.of_fit(run_dir, ordinal) if run_dir else None

    def _planned(
        self, run: Run, val: Any, path: Any, weights_only: bool
    ) -> tuple[Run, FitPlan | None]:
        """The run with its optimizers, and what there is to train, if there is anything."""
        state, progress, before = run.state, run.state.progress, self._training
        content = None
        state.asked, state.restored_metrics = {}, state.restored_metrics if progress.rest else None
        state.validation_random = None
        if path is not None:
            self.ckpt_path = path_or_name(path)
            content = resume.read_for(run, path, weights_only)
            resume.load_weights(run, content, path)
            resume.load_callbacks(run, content, self.callbacks, self)
        elif progress.rest:
            progress.reopen()
        else:
            progress.begin_epoch_anew(run.strategy.broadcast(fresh_seed()))
        run.strategy.to_device(run.module)
        self._training = None
        run = self._configured(run)
        if content is not None:
            resume.load_training(run, content)
            self._training = None  # the order of samples follows from the seed that was kept
        lifecycle.log_hyperparameters(run)
        forward = run.strategy.wrap(run.module, len(run.optimization.optimizers) > 1)
        for hook in ("on_fit_start", "on_pretrain_routine_start", "on_pretrain_routine_end"):
            run.hooks.call(hook)
        loader, count = self._training_data()
        if content is None and before is not None and count != before[1]:  # of other data
            progress.begin_epoch_anew(progress.data_seed)
            state.restored_metrics = None
        validation = validation_plan(run, val, loader, LightningModule)
        self._show(validation)
        self._state.num_val_batches = [] if validation is None else most_batches(run, validation)
        sanity = sanity_plan(run, validation)
        self._state.num_sanity_val_batches = [] if sanity is None else list(sanity.counts)
        to_device = to_device_function(run, LightningModule)
        if content is not None:
            resume.load_random(run, content)
        if not count or self._state.already_complete:
            progress.leave()
            return run, None
        every = run.settings.fit.log_every_n_steps
        if run.loggers and count < every and not self._settings.output.fast_dev_run:
            rank_zero_info(
                f"engine: an epoch has {count} batches, log_every_n_steps is {every}: loggers get "
                "no step's values of some epochs"
            )
        watch = PreemptionWatch(self, run, self._ordinal or 0, self._index)
        watch.before_training()
        data = (to_device, forward, validation, sanity)
        stop, reload = watch.stop_if_agreed, partial(self._reload, run, val)
        return run, FitPlan(loader, count, *data, stop, reload)

    def _end_fit(self, run: Run) -> None:
        run.strategy.end_training()
        if self._index is not None and self.is_global_zero:
            self._index.finish(run.state.progress.step)
            remove_outdated(self._index)
        run.hooks.call("on_fit_end")

    def _configured(self, run: Run) -> Run:
        """The run with the optimizers that the module wants."""
        run.logged.hook = "configure_optimizers"
        returned, assigned = run.module.configure_optimizers(), self._optimization
        run.logged.hook = None
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
        self._optimization = optimization
        self._run = replace(run, optimization=optimization)
        run.hooks.callbacks_only("on_optimizers_made")  # for those that add groups to them
        return self._run

    def _training_data(self) -> tuple[Any, int | float]:
        if self._run is None:
            raise MisconfigurationException(
                "which batches there are is known once fit has begun: ask for "
                "estimated_stepping_batches in configure_optimizers or a hook"
            )
        if self._training is None:
            given = self.given_loaders["train"]
            self._training = training_loader(self._run, given, LightningModule)
            self.train_dataloader, self._state.num_training_batches = self._training
        return self._training

    def _reload(self, run: Run, val: Any) -> Reloaded:
        self._training = None
        new = reloaded(run, *self._training_data(), val, LightningModule)
        self._show(new.validation)
        return new

    def _show(self, validation: Plan | None) -> None:
        self.val_dataloaders = None if validation is None else list(validation.loaders)

    def reset_train_dataloader(self, model: Any = None) -> None:
        """Ask for the training loader anew (1.x): at once, or in an epoch before the next one."""
        if not self._reloads_later():
            self._training = None
            self._training_data()

    def reset_val_dataloader(self, model: Any = None) -> None:
        """Ask for the validation loaders anew (1.x): at once, or in an epoch before the next."""
        if not self._reloads_later():
            assert self._run is not None
            given, train = self.given_loaders.get("val"), self._training_data()[0]
            self._show(validation_plan(self._run, given, train, LightningModule))

    def reset_train_val_dataloaders(self, model: Any = None) -> None:
        """Ask for both anew (1.x)."""
        self.reset_train_dataloader(model)
        self.reset_val_dataloader(model)

    def _reloads_later(self) -> bool:
        state = self._state
        if state.fn != "fit" or state.status != "running" or self._run is None:
            raise MisconfigurationException(
                "loaders are asked for by a run: call reset_train_dataloader and "
                "reset_val_dataloader in a hook of a fit; before it there is nothing to reset"
            )
        state.reloads = state.training or state.validating
        return state.reloads

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimizer steps of the whole fit, as schedulers want to know in configure_optimizers."""
        count = self._training_data()[1]
        return steps_of_fit(self._settings.fit, count, self.accumulation)
