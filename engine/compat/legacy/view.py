"""What trainers of 1.x showed of themselves, and every argument under its own name."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

from engine.compat.legacy.accelerators import Accelerator
from engine.compat.legacy.connectors import (
    AcceleratorConnector,
    CheckpointConnector,
    DataConnector,
    LoggerConnector,
)
from engine.compat.legacy.fit_loop import FitLoopView
from engine.loops.optimizers import SchedulerConfig
from engine.module.logging.values import to_floats
from engine.runtime.coordination.signals import preemption
from engine.runtime.distributed.world import rank_zero_only
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import Settings
from engine.strategies.precision import Precision, make_precision
from engine.trainer.fit import reset_training_loader, reset_validation_loaders
from engine.trainer.options import CHANGEABLE, SHOWN
from engine.trainer.saving import resume
from engine.trainer.trainer import Trainer


class OldView(Trainer):
    """Names that modules and callbacks of old code read; each argument is one, too."""

    # ------------------------------------------------------------------ devices

    @property
    def on_gpu(self) -> bool:
        """Whether this process computes on a GPU."""
        return self.strategy.root_device.type == "cuda"

    @property
    def root_gpu(self) -> int | None:
        """The number of this process's GPU, None on a CPU."""
        return self.strategy.root_device.index if self.on_gpu else None

    @property
    def gpus(self) -> int | list[int] | None:
        """How many GPUs a node, or which; None on a CPU."""
        given = self._settings.hardware.devices
        return (self.num_gpus if given in (None, "auto") else given) if self.on_gpu else None

    @property
    def num_gpus(self) -> int:
        """Number of processes on this node that have a GPU."""
        return self.num_devices if self.on_gpu else 0

    @property
    def num_processes(self) -> int:
        """Number of processes on this node."""
        return self.num_devices

    @property
    def device_ids(self) -> list[int]:
        """The devices of this node's processes."""
        given = self._settings.hardware.devices
        return given if self.on_gpu and isinstance(given, list) else list(range(self.num_devices))

    @property
    def data_parallel_device_ids(self) -> list[int] | None:
        """The GPUs of this node's processes, None on a CPU."""
        return self.device_ids if self.on_gpu else None

    @property
    def accelerator(self) -> Accelerator:
        """What this process computes with; equal to its name: cpu, gpu or mps."""
        return Accelerator.of(self)

    accelerator_backend = accelerator

    @property
    def precision_plugin(self) -> Precision:
        """What steps compute in, and the scaler of 16 bits."""
        if self._run is not None:
            return self._run.precision
        return make_precision(self._settings.hardware.precision, self.strategy.root_device)

    @property
    def scaler(self) -> Any:
        """The scaler of 16 bits, None without."""
        return self.precision_plugin.scaler

    @property
    def on_tpu(self) -> bool:
        """There is none."""
        return False

    @property
    def data_parallel(self) -> bool:
        """Whether there are other processes."""
        return self.world_size > 1

    use_dp = use_ddp2 = use_horovod = False

    @property
    def use_ddp(self) -> bool:
        """Whether there are other processes, as 1.0 to 1.2 asked."""
        return self.data_parallel

    @property
    def use_single_gpu(self) -> bool:
        """Whether there is one process, on a GPU."""
        return self.on_gpu and not self.data_parallel

    @property
    def distributed_backend(self) -> str | None:
        """How the processes work together, None for one alone."""
        return "ddp" if self.world_size > 1 else None

    @property
    def training_type_plugin(self) -> Any:
        """The strategy, as 1.2 to 1.5 called it."""
        return self.strategy

    @property
    def use_amp(self) -> bool:
        """Whether steps compute in 16 bits."""
        return self._settings.hardware.precision.startswith(("16", "bf16"))

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """What a DistributedSampler of one's own is told."""
        return self.strategy.distributed_sampler_kwargs

    @property
    def should_rank_save_checkpoint(self) -> bool:
        """Whether this process writes."""
        return self.is_global_zero

    @property
    def tpu_cores(self) -> None:
        """There are none."""
        return None

    ipus = tpu_cores

    @property
    def is_slurm_managing_tasks(self) -> bool:
        """Whether SLURM started the processes."""
        return self.strategy.world.launched and "SLURM_PROCID" in os.environ

    @property
    def slurm_job_id(self) -> int | None:
        """The number of the SLURM job, None outside of one."""
        found = os.environ.get("SLURM_JOB_ID", "")
        return int(found) if found.isdigit() else None

    # ------------------------------------------------------------------ what it was made of

    @property
    def accelerator_connector(self) -> AcceleratorConnector:
        """How the processes work together."""
        return AcceleratorConnector(self)

    @property
    def checkpoint_connector(self) -> CheckpointConnector:
        """What a checkpoint of this moment holds."""
        return CheckpointConnector(self)

    @property
    def data_connector(self) -> DataConnector:
        """Data module and loaders."""
        return DataConnector(self)

    @property
    def logger_connector(self) -> LoggerConnector:
        """Metrics, and the loggers that get them."""
        return LoggerConnector(self)

    _accelerator_connector, _checkpoint_connector = accelerator_connector, checkpoint_connector
    _data_connector, _logger_connector = data_connector, logger_connector

    def _dump(self, weights_only: bool) -> dict[str, Any]:
        if self._run is None:
            raise MisconfigurationException("there is nothing to save before a run")
        return resume.dump(self._run, self.callbacks, self, weights_only)

    def _load_weights(self, path: str) -> None:
        if self._run is None:
            raise MisconfigurationException("there is no module to load weights into before a run")
        resume.load_weights(self._run, resume.read_for(self._run, path), path)

    # ------------------------------------------------------------------ the run

    @property
    def resume_from_checkpoint(self) -> Any:
        """The checkpoint that the Trainer's argument names."""
        return self._settings.output.ckpt_path

    @resume_from_checkpoint.setter
    def resume_from_checkpoint(self, path: Any) -> None:
        self._change("ckpt_path", path)

    def reset_train_dataloader(self, model: Any = None) -> None:
        """Ask for the training loader anew: at once, or in an epoch before the next one."""
        reset_training_loader(self)

    def reset_val_dataloader(self, model: Any = None) -> None:
        """Ask for the validation loaders anew: at once, or in an epoch before the next."""
        reset_validation_loaders(self)

    def reset_train_val_dataloaders(self, model: Any = None) -> None:
        """Ask for both anew."""
        self.reset_train_dataloader(model)
        self.reset_val_dataloader(model)

    @property
    def tested_ckpt_path(self) -> str | None:
        """The checkpoint that was loaded last."""
        return self.ckpt_path

    validated_ckpt_path = predicted_ckpt_path = tested_ckpt_path

    @property
    def lightning_optimizers(self) -> dict[int, Any]:
        """The optimizers by their index."""
        return dict(enumerate(self.optimizers))

    @property
    def fit_loop(self) -> FitLoopView:
        """The same limits by the names of 1.5 and 2.x: `trainer.fit_loop.max_epochs`."""
        return FitLoopView(self)

    @fit_loop.setter
    def fit_loop(self, loop: Any) -> None:
        raise MisconfigurationException(
            f"trainer.fit_loop = {type(loop).__name__}(...): the Trainer's loops are functions; "
            "nothing takes their place. For folds or rounds call trainer.fit several times, each "
            "with a module and a Trainer of its own, in a loop around it; for other steps set "
            "`self.automatic_optimization = False`, or write the loop with LightningLite"
        )

    @property
    def train_loop(self) -> Any:
        """The fit loop, as 1.0 to 1.3 called it."""
        return self.fit_loop

    @property
    def replace_sampler_ddp(self) -> bool:
        """Whether samples are divided among the ranks."""
        return self._settings.data.use_distributed_sampler

    @property
    def received_sigterm(self) -> bool:
        """Whether the process was told to make room."""
        return preemption.signal is not None

    @rank_zero_only
    def print(self, *values: Any, **options: Any) -> None:
        """Print, from one process only."""
        print(*values, **options)  # noqa: T201  (printing is what it is for)

    @property
    def prediction_writer_callbacks(self) -> list[Any]:
        """The callbacks that write predictions."""
        from engine.callbacks import BasePredictionWriter

        return [c for c in self.callbacks if isinstance(c, BasePredictionWriter)]

    def call_hook(self, hook_name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a hook of the callbacks and of the module; returns what the module's returns."""
        for callback in self.callbacks:
            method = getattr(callback, hook_name, None)
            if callable(method):
                method(self, self.lightning_module, *args, **kwargs)
        method = getattr(self.lightning_module, hook_name, None)
        return method(*args, **kwargs) if callable(method) else None

    def is_function_implemented(self, name: str, model: Any = None) -> bool:
        """Whether the module (or another model) has a method of this name."""
        return callable(getattr(self.lightning_module if model is None else model, name, None))

    @property
    def running_sanity_check(self) -> bool:
        """Whether the validation before the training is running."""
        return self.sanity_checking

    @property
    def evaluating(self) -> bool:
        """Whether validation or a test is running."""
        return self.validating or self.testing

    @property
    def batch_idx(self) -> int:
        """Index of the training batch that runs."""
        return self._state.progress.batch

    @property
    def total_batch_idx(self) -> int:
        """The same, counted over all epochs."""
        return self._state.progress.total_batches

    @property
    def enable_validation(self) -> bool:
        """Whether fit validates."""
        return bool(sum(self.num_val_batches)) and self.limit_val_batches != 0

    @property
    def disable_validation(self) -> bool:
        """Whether fit does not validate."""
        return not self.enable_validation

    @property
    def lr_schedulers(self) -> list[dict[str, Any]]:
        """The schedulers, each as a dict with what configure_optimizers said of it."""
        names = [field.name for field in fields(SchedulerConfig)]
        return [{name: getattr(config, name) for name in names} for config in self._schedulers]

    @property
    def optimizer_frequencies(self) -> list[int]:
        """For how many batches each optimizer has its turn, where they take turns."""
        return self._optimization.frequencies

    @property
    def progress_bar_dict(self) -> dict[str, float]:
        """What the bar shows, as numbers: reading it waits for the device."""
        return to_floats(self.progress_bar_metrics)

    def get_model(self) -> Any:
        """The module."""
        return self.lightning_module

    @property
    def _schedulers(self) -> list[SchedulerConfig]:
        return self._optimization.schedulers


def _setter(name: str) -> Any:
    return lambda trainer, value: trainer._change(name, value)


def _argument(name: str, meaning: str) -> property:
    def read(trainer: Any) -> Any:
        settings: Settings = trainer._settings
        parts = (settings.fit, settings.data, settings.hardware, settings.output, settings.tune)
        return next(getattr(part, name) for part in parts if hasattr(part, name))

    return property(read, doc=meaning)


_ATTRIBUTES = ("callbacks", "strategy")
for _row in SHOWN:
    if not hasattr(OldView, _row.name) and _row.name not in _ATTRIBUTES:
        setattr(OldView, _row.name, _argument(_row.name, _row.meaning))
for _name in CHANGEABLE:
    _shown = getattr(OldView, _name, None)
    if isinstance(_shown, property) and _shown.fset is None:
        setattr(OldView, _name, _shown.setter(_setter(_name)))
