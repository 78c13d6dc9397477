"""Trainer: the door. It turns arguments into settings, puts a run together, and calls the loops."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.loops.evaluate import evaluate
from engine.loops.fit import fit
from engine.loops.hooks import OlderHooks
from engine.loops.optimizers import Optimization
from engine.loops.predict import predict
from engine.loops.run import Run
from engine.loops.state import State
from engine.module.compiled import with_compiled_steps
from engine.module.datamodule import sorted_out
from engine.module.logging.results import LoggedValues
from engine.module.logging.values import to_floats
from engine.module.module import LightningModule
from engine.profilers.attach import Measurement, make_profiler
from engine.runtime.compat_flags import compat_flags
from engine.runtime.coordination.signals import listening
from engine.runtime.distributed.world import rank_zero_warn, read_world
from engine.runtime.errors import MisconfigurationException, Preempted
from engine.runtime.seed import share_random_state
from engine.runtime.settings import Settings
from engine.runtime.storage import run_folder as rundir
from engine.runtime.torch_internals.late_dynamo import put_off as put_off_dynamo
from engine.strategies.base import Strategy
from engine.strategies.choose import choose_strategy, join_process_group
from engine.strategies.precision import make_precision, said_precision, seed_precision
from engine.strategies.torch_flags import switches
from engine.trainer import lifecycle
from engine.trainer.children.verbs import run_apart
from engine.trainer.defaults import make_callbacks, with_module_callbacks
from engine.trainer.fit import begin_fit, end_fit, planned, steps_in_all
from engine.trainer.lifecycle import print_results, report
from engine.trainer.nested import aside, taking_part, weights_of
from engine.trainer.options import (
    description,
    notices,
    parse,
    signature,
)
from engine.trainer.plans import (
    evaluation_plan,
    found,
    several,
)
from engine.trainer.saving.preemption import handles_preemption, was_left_alone
from engine.trainer.saving.save import load_for, save_if_all_arrive
from engine.trainer.saving.select import checkpoint_to_resume, newest_of_run
from engine.trainer.view import TrainerView

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from engine.trainer.options.arguments import TrainerArguments


class Trainer(TrainerView):
    """Trains, validates, tests and predicts with a LightningModule.

    The arguments are those of the table in `engine.trainer.options`.
    """

    _older_hooks = OlderHooks()

    def __init__(self, **arguments: Unpack[TrainerArguments]) -> None:
        put_off_dynamo()
        settings = parse(arguments)
        self._open(settings, choose_strategy(settings.hardware, read_world()))
        self._said_precision = said_precision(arguments.get("precision"))
        self._notices = notices(arguments, settings)
        switches.set_for(settings.hardware)
        for callback in self.callbacks:
            callback.on_init_start(self)
            callback.on_init_end(self)

    def _open(self, settings: Settings, strategy: Strategy) -> None:
        self._settings = settings
        self._said_precision = seed_precision(settings.hardware.precision)
        self._notices = []
        self.strategy = strategy
        self.lightning_module: Any = None
        self.datamodule: Any = None
        self.train_dataloader: Any = None
        self.val_dataloaders: Any = None
        self.test_dataloaders: Any = None
        self.predict_dataloaders: Any = None
        self.ckpt_path: str | None = None
        self._state = State()
        self._logged = LoggedValues(settings.output.move_metrics_to_cpu)
        self._optimization = Optimization()
        self._run: Run | None = None
        self._index: rundir.Index | None = None
        self._loggers: list[Any] | None = None
        self._ordinal: int | None = None
        self.given_loaders: dict[str, Any] = {}
        self._level = 0  # how many runs are going on, each called by a hook of the one before
        self._at_end = ExitStack()  # what the innermost of them undoes
        self._training: tuple[Any, int | float] | None = None
        self._measurement = Measurement(make_profiler(self._settings.output.profiler))
        self.callbacks = make_callbacks(settings)

    # ------------------------------------------------------------------ verbs

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: Any = None,
        train_dataloader: Any = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train a model; the Trainer's limits say how long.

        Args:
            model: The module, with a `training_step` and `configure_optimizers`.
            train_dataloaders: One loader or several, or a data module; by default those of
                `datamodule` or of the model.
            val_dataloaders: One or several loaders to validate on.
            datamodule: What makes loaders that are not given.
            ckpt_path: Resume from this checkpoint: a path, an open file, "best" or "last".
            train_dataloader: The name that 1.x has for `train_dataloaders`.
            weights_only: False reads a checkpoint that holds more than plain data, which can run
                code: only if you trust who wrote it.

        Raises:
            MisconfigurationException: Something lacks or contradicts; the message says what to do.
            CheckpointError: `ckpt_path` can't be read.
        """
        train = train_dataloaders if train_dataloaders is not None else train_dataloader
        train, datamodule = sorted_out(train, datamodule)
        if not callable(getattr(model, "training_step", None)):
            raise MisconfigurationException(
                f"{type(model).__name__} has no `training_step`: fit needs one"
            )
        loaders = {"train_dataloaders": train, "val_dataloaders": val_dataloaders}
        more = {"ckpt_path": ckpt_path, "weights_only": weights_only}
        if run_apart(self, "fit", model, datamodule, **loaders, **more):
            return
        begin_fit(self)
        self.given_loaders = {"train": train, "val": val_dataloaders}
        with self._running("fit", model, datamodule) as run:
            path, self._state.already_complete = newest_of_run(self._index)
            if path is None:
                given = ckpt_path if ckpt_path is not None else self._settings.output.ckpt_path
                path = checkpoint_to_resume(self, given)
            run, plan = planned(self, run, val_dataloaders, path, weights_only is not False)
            if plan is not None:
                fit(run, plan)
            end_fit(self, run)
        report(self, to_floats(self.callback_metrics))

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: Any = None,
        verbose: bool = True,
        datamodule: Any = None,
        val_dataloaders: Any = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Run the validation loop once; returns the metrics, one dict a loader."""
        given = dataloaders if dataloaders is not None else val_dataloaders
        path = (ckpt_path, weights_only)
        return self._evaluate("validate", model, given, path, verbose, datamodule)

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: Any = None,
        verbose: bool = True,
        datamodule: Any = None,
        test_dataloaders: Any = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Run the test loop once; returns the metrics, one dict a loader.

        With `model` its present weights are tested, without it the best checkpoint of the last
        fit; `ckpt_path` says otherwise ("best", "last", a path or an open file).
        """
        given = dataloaders if dataloaders is not None else test_dataloaders
        path = (ckpt_path, weights_only)
        return self._evaluate("test", model, given, path, verbose, datamodule)

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        return_predictions: bool | None = None,
        ckpt_path: Any = None,
        weights_only: bool | None = None,
    ) -> list[Any] | None:
        """What `predict_step` says to every batch, in the order of the data, on every rank.

        One loader gives a list, several a list of lists.
        """
        keeps = return_predictions is not False
        dataloaders, datamodule = sorted_out(dataloaders, datamodule)
        given, module = {"predict": dataloaders}, self._module_for(model)
        more = {"ckpt_path": ckpt_path, "weights_only": weights_only, "dataloaders": dataloaders}
        apart = run_apart(self, "predict", model, datamodule, return_predictions=keeps, **more)
        if apart:
            return apart.value  # type: ignore[no-any-return]  # what predict returned there
        with self._running("predict", module, datamodule, given) as run:
            loaders = self._loaders("predict", dataloaders, run)
            self._load_for(run, model, ckpt_path, weights_only)
            plan = evaluation_plan(run, "predict", loaders)
            self._state.num_predict_batches = list(plan.counts)
            self._state.predicting = True
            at_end = any(getattr(one, "_wants_predictions", False) for one in self.callbacks)
            predictions = predict(run, plan, keeps, keeps or at_end)
            self._state.predicting = False
        if not keeps:
            return None
        return predictions[0] if len(loaders) == 1 else predictions

    def save_checkpoint(
        self, filepath: str | os.PathLike[str], weights_only: bool = False, **_: Any
    ) -> None:
        """Write a checkpoint of this moment; call it on every rank, rank zero writes.

        Where rank zero calls it alone, the file lacks what only the other ranks know.
        """
        save_if_all_arrive(self, self._run, self._index, filepath, weights_only)

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimizer steps of the whole fit, as schedulers want to know in configure_optimizers."""
        return steps_in_all(self)

    # ------------------------------------------------------------------ evaluation

    def _evaluate(
        self, verb: str, model: Any, loaders: Any, path: Any, verbose: bool, datamodule: Any
    ) -> list[dict[str, float]]:
        step = "validation_step" if verb == "validate" else "test_step"
        loaders, datamodule = sorted_out(loaders, datamodule)
        module = self._module_for(model)
        if not callable(getattr(module, step, None)):
            missing = f"{type(module).__name__} has no `{step}`: trainer.{verb} needs one"
            if verb == "test" and not compat_flags.needs_test_step:
                rank_zero_warn(f"{missing}; nothing is tested")
                return []
            raise MisconfigurationException(missing)
        more = {"dataloaders": loaders, "ckpt_path": path[0], "weights_only": path[1]}
        apart = run_apart(self, verb, model, datamodule, verbose=verbose, **more)
        if apart:
            return apart.value  # type: ignore[no-any-return]  # what the verb returned there
        kind = "val" if verb == "validate" else verb
        with self._running(verb, module, datamodule, {kind: loaders}) as run:
            used = self._loaders(kind, loaders, run)
            self._load_for(run, model, *path)
            plan = evaluation_plan(run, verb, used)
            counts, state = list(plan.counts), self._state
            if verb == "validate":
                state.num_val_batches, state.validating = counts, True
            else:
                state.num_test_batches, state.testing = counts, True
            results = evaluate(run, plan)
            state.validating = state.testing = False
        report(self, {name: value for one in results for name, value in one.items()})
        if verbose and self.is_global_zero:
            print_results(verb, results)
        return results

    def forget_run(self) -> None:
        """Let go of what only the last run needed, such as open files; nothing may run now."""
        self._run, self._at_end = None, ExitStack()

    def _module_for(self, model: Any) -> Any:
        module = model if model is not None else self.lightning_module
        if module is None:
            raise MisconfigurationException("no model was given, and there was no fit before")
        return module

    def _loaders(self, kind: str, given: Any, run: Run) -> list[Any]:
        loaders = several(found(kind, given, run))
        if not loaders:
            raise MisconfigurationException(
                f"there is nothing to run on: give a loader, or define `{kind}_dataloader`"
            )
        setattr(self, f"{kind}_dataloaders", loaders)
        return loaders

    def _load_for(self, run: Run, model: Any, ckpt_path: Any, weights_only: bool | None) -> None:
        if run.is_inner:  # the run around it goes on with the weights that it has
            model = run.module
            if ckpt_path is not None:
                self._at_end.callback(weights_of(run.module))
        loaded = load_for(self, run, model, ckpt_path, weights_only is not False)
        self.ckpt_path = loaded or self.ckpt_path

    # ------------------------------------------------------------------ a run's outline

    @contextmanager
    def _running(
        self, verb: str, module: Any, datamodule: Any, given: dict[str, Any] | None = None
    ) -> Iterator[Run]:
        """Everything around a verb: set up, and clean up whatever happens."""
        stays, settings = rundir.launched_dir() is not None, self._settings
        with (
            aside(self, verb),
            listening(handles_preemption(self, verb), stays=stays),
            lifecycle.anomalies(settings.fit),
            switches.during(settings.hardware),
            with_compiled_steps(module) as itself,
        ):
            self.given_loaders = self.given_loaders if given is None else given
            yield from self._within(verb, itself, datamodule)

    def _within(self, verb: str, module: Any, datamodule: Any) -> Iterator[Run]:
        self.strategy = join_process_group(self.strategy, self._settings.hardware)
        replaces = verb == "fit" or self.lightning_module is None
        run = self._assemble(verb, module, datamodule)
        state, status = self._state, "success"
        try:
            lifecycle.prepare(run)
            if not run.is_inner:
                share_random_state()
            self.callbacks = with_module_callbacks(self.callbacks, module, replaces)
            self._run = run = replace(run, hooks=self._hooks(module))
            lifecycle.set_up(run, verb)
            if not run.is_inner:
                self._measurement.begin(run, verb, self.log_dir)
            yield run
            state.status = "finished"
        except BaseException as error:
            status = "finished" if isinstance(error, Preempted) else "failed"
            state.status = "interrupted"
            lifecycle.after_failure(self._run or run, error)
            if not run.is_inner and was_left_alone(verb, error):
                raise Preempted from error
            raise
        finally:
            if not run.is_inner:
                self._measurement.end(verb)
            lifecycle.tear_down(self._run or run, verb, status)
            state.training = state.validating = state.testing = state.predicting = False
            state.sanity_checking = False

    def _assemble(self, verb: str, module: Any, datamodule: Any) -> Run:
        self._logged.hook = None
        if verb == "fit":
            self._logged.clear()
            if module is not self.lightning_module:  # which has seen nothing of a part of an epoch
                self._state.progress.rest = 0
        is_given = datamodule is not None
        if datamodule is None and module is self.lightning_module:
            datamodule = self.datamodule
        self.lightning_module, self.datamodule = module, datamodule
        outer = lifecycle.attach(module, self, self._logged)
        if datamodule is not None:
            datamodule.trainer = self
        self._state.fn, self._state.status = verb, "running"
        self._state.already_complete = False
        precision = make_precision(self._settings.hardware.precision, self.strategy.root_device)
        self._run = Run(
            module,
            datamodule,
            self._settings,
            self._state,
            self.strategy,
            precision,
            self._hooks(module),
            self._logged,
            self.loggers,
            self._optimization if verb != "fit" else Optimization(),
            is_given,
            outer,
            self._level > 1,
        )
        return self._run

    def _hooks(self, module: Any) -> Any:
        callbacks = taking_part(self.callbacks) if self._level > 1 else self.callbacks
        return self._measurement.hooks(self, module, callbacks, self._logged, self._older_hooks)


# The table is the one place that arguments are written down in: editors and help() read them here.
Trainer.__init__.__signature__ = signature()  # type: ignore[attr-defined]  # functions have it
Trainer.__init__.__doc__ = description()
