"""What a trainer shows of itself: names that callbacks, loggers and modules read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch

from engine.loops.optimizers import Optimization, SchedulerConfig
from engine.loops.state import State, accumulation_of, window_at
from engine.module.logging.results import LoggedValues
from engine.profilers.base import PassThroughProfiler
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import OptimizerSteps, Settings
from engine.strategies.base import Strategy
from engine.trainer.options import changed
from engine.trainer.saving import folders


class TrainerView:
    """The read-mostly face of a trainer; of all this only `should_stop` is meant to be set."""

    _settings: Settings
    _said_precision: str | int
    _state: State
    _logged: LoggedValues
    _optimization: Optimization
    strategy: Strategy
    _measurement: Any
    callbacks: list[Any]
    lightning_module: Any
    datamodule: Any
    _loggers: list[Any] | None
    _ordinal: int | None

    @property
    def profiler(self) -> Any:
        """What measures the run; one that measures nothing, where none was asked for."""
        return self._measurement.profiler or PassThroughProfiler()

    # ------------------------------------------------------------------ where the run stands

    @property
    def state(self) -> State:
        """The state of the run."""
        return self._state

    @property
    def current_epoch(self) -> int:
        """Index of the epoch that runs."""
        return self._state.progress.epoch

    @current_epoch.setter
    def current_epoch(self, value: int) -> None:
        self._must_not_run("current_epoch")
        self._state.progress.epoch, self._state.progress.rest = value, 0

    @property
    def global_step(self) -> int:
        """Number of optimizer steps taken."""
        return self._state.progress.step

    @global_step.setter
    def global_step(self, value: int) -> None:
        self._must_not_run("global_step")
        self._state.progress.step, self._state.progress.rest = value, 0

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch that runs is the last of its epoch."""
        return self._state.is_last_batch

    @property
    def should_stop(self) -> bool:
        """Whether training is asked to stop after this batch; set it on all ranks alike."""
        return self._state.should_stop

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self._state.should_stop = bool(value)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self._state.status == "interrupted"

    @property
    def training(self) -> bool:
        """Whether training batches are running."""
        return self._state.training

    @property
    def validating(self) -> bool:
        """Whether validation is running."""
        return self._state.validating

    @property
    def testing(self) -> bool:
        """Whether a test is running."""
        return self._state.testing

    @property
    def predicting(self) -> bool:
        """Whether prediction is running."""
        return self._state.predicting

    @property
    def tuning(self) -> bool:
        """Whether this is a trial of the tuner."""
        return self._state.tuning

    @property
    def sanity_checking(self) -> bool:
        """Whether the validation before the training is running."""
        return self._state.sanity_checking

    # ------------------------------------------------------------------ settings

    @property
    def max_epochs(self) -> int | None:
        """After how many epochs training ends; -1 for never."""
        return self._settings.fit.max_epochs

    @max_epochs.setter
    def max_epochs(self, value: int | None) -> None:
        self._limit("max_epochs", value)

    @property
    def min_epochs(self) -> int | None:
        """Before how many epochs training does not end."""
        return self._settings.fit.min_epochs

    @property
    def max_steps(self) -> int:
        """After how many optimizer steps training ends; -1 for never."""
        return self._settings.fit.max_steps

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self._limit("max_steps", value)

    def _change(self, name: str, value: Any) -> None:
        self._must_not_run(name)
        self._settings = changed(self._settings, name, value)

    def _must_not_run(self, name: str) -> None:
        if self._state.status == "running":
            raise MisconfigurationException(
                f"trainer.{name} cannot change while a run goes on: set it before fit, or end the "
                "training by trainer.should_stop = True"
            )

    def _limit(self, name: str, value: int | None) -> None:
        self._must_not_run(name)
        limit: dict[str, Any] = {name: -1 if value is None else value}
        self._settings = replace(self._settings, fit=replace(self._settings.fit, **limit))

    @property
    def min_steps(self) -> int | None:
        """Before how many optimizer steps training does not end."""
        return self._settings.fit.min_steps

    @property
    def log_every_n_steps(self) -> int:
        """How often step values go to loggers."""
        return self._settings.fit.log_every_n_steps

    @property
    def val_check_interval(self) -> int | float | OptimizerSteps | timedelta:
        """How often validation runs within an epoch."""
        return self._settings.fit.val_check_interval

    @property
    def check_val_every_n_epoch(self) -> int | None:
        """In which epochs validation runs."""
        return self._settings.fit.check_val_every_n_epoch

    @property
    def accumulate_grad_batches(self) -> int:
        """Batches a step, in this epoch; what is set counts from the next epoch's start on."""
        return window_at(self.accumulation, self.current_epoch)

    @accumulate_grad_batches.setter
    def accumulate_grad_batches(self, batches: int | dict[int, int]) -> None:
        self._state.accumulation = batches

    @property
    def accumulation(self) -> int | dict[int, int]:
        """Batches a step: a number, or {epoch: number}."""
        return accumulation_of(self._settings.fit, self._state)

    @property
    def gradient_clip_val(self) -> float | None:
        """What gradients are clipped at."""
        return self._settings.fit.gradient_clip_val

    @property
    def limit_val_batches(self) -> int | float:
        """Share or number of validation batches."""
        return self._settings.data.limit_val_batches

    @property
    def limit_train_batches(self) -> int | float:
        """Share or number of training batches."""
        return self._settings.data.limit_train_batches

    @property
    def fast_dev_run(self) -> int:
        """Batches of a run that only tries everything once; 0 for a real one."""
        return self._settings.output.fast_dev_run

    @property
    def precision(self) -> str | int:
        """What steps compute in, as it was given: 16 or "16-mixed"."""
        return self._said_precision

    # ------------------------------------------------------------------ folders and loggers

    @property
    def default_root_dir(self) -> str:
        """Where everything is written that was not told to go elsewhere."""
        return folders.root_folder(self)

    @property
    def weights_save_path(self) -> str:
        """Where checkpoints are written that were not told to go elsewhere."""
        return self._settings.output.weights_save_path or self.default_root_dir

    @property
    def checkpoint_root(self) -> str:
        """The folder of this run in which a ModelCheckpoint without a `dirpath` has its own."""
        return folders.checkpoint_folder(self)

    @property
    def loggers(self) -> list[Any]:
        """The loggers; the default one is made when first asked for."""
        if self._loggers is None:
            self._loggers = folders.loggers_of(self)
        return self._loggers

    @property
    def logger(self) -> Any:
        """The first logger, None without any."""
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Any) -> None:
        self._change("logger", logger)
        self._loggers = None

    @property
    def log_dir(self) -> str:
        """The folder of this run, which its loggers and checkpoints share.

        Without loggers that write files, and without plaunch, it is `default_root_dir`.
        """
        return folders.log_folder(self)

    # ------------------------------------------------------------------ counts

    @property
    def num_training_batches(self) -> int | float:
        """Batches in a training epoch; infinity where that is not known."""
        return self._state.num_training_batches

    @property
    def num_val_batches(self) -> list[int | float]:
        """Batches of each validation loader."""
        return self._state.num_val_batches

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Batches of each validation loader before training."""
        return self._state.num_sanity_val_batches

    @property
    def num_test_batches(self) -> list[int | float]:
        """Batches of each test loader."""
        return self._state.num_test_batches

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Batches of each loader to predict on."""
        return self._state.num_predict_batches

    # ------------------------------------------------------------------ metrics

    @property
    def callback_metrics(self) -> dict[str, torch.Tensor]:
        """The last value of everything that was logged."""
        return self._logged.callback_metrics()

    @property
    def logged_metrics(self) -> dict[str, torch.Tensor]:
        """What loggers got last; in a step its own values, whether they go to loggers or not."""
        return self._logged.logged_metrics()

    @property
    def progress_bar_metrics(self) -> dict[str, torch.Tensor]:
        """What the bar shows; values stay on their device until they are read."""
        return self._logged.progress_bar_metrics()

    # ------------------------------------------------------------------ ranks

    @property
    def global_rank(self) -> int:
        """The rank of this process."""
        return self.strategy.world.rank

    @property
    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return self.strategy.world.local_rank

    @property
    def node_rank(self) -> int:
        """The rank of this node."""
        return self.strategy.world.node_rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.strategy.world.world_size

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        world = self.strategy.world
        return world.num_nodes if world.launched else self._settings.hardware.num_nodes

    @property
    def num_devices(self) -> int:
        """Number of processes on this node."""
        return self.strategy.world.local_world_size

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the process that writes."""
        return self.strategy.world.rank == 0

    # ------------------------------------------------------------------ parts

    @property
    def model(self) -> Any:
        """The module."""
        return self.lightning_module

    @model.setter
    def model(self, model: Any) -> None:
        self.lightning_module = model

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizers."""
        return self._optimization.optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[torch.optim.Optimizer]) -> None:
        is_running = self._state.fn == "fit" and self._state.status == "running"
        self._optimization.assign(optimizers, is_running)

    @property
    def lr_scheduler_configs(self) -> list[SchedulerConfig]:
        """The schedulers, and when each is stepped."""
        return self._optimization.schedulers

    @property
    def checkpoint_callbacks(self) -> list[Any]:
        """The callbacks that keep checkpoints."""
        return [c for c in self.callbacks if hasattr(c, "best_model_path")]

    @property
    def checkpoint_callback(self) -> Any:
        """The first callback that keeps checkpoints, None without any."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callbacks(self) -> list[Any]:
        """The callbacks that end the training early."""
        from engine.callbacks.stopping.early_stopping import EarlyStopping

        return [c for c in self.callbacks if isinstance(c, EarlyStopping)]

    @property
    def early_stopping_callback(self) -> Any:
        """The first callback that ends the training early, None without any."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def progress_bar_callback(self) -> Any:
        """The progress bar, None without any."""
        from engine.callbacks.progress.bar_counts import ProgressBarBase

        return next((c for c in self.callbacks if isinstance(c, ProgressBarBase)), None)
