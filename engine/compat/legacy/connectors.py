"""Four objects that trainers of 1.x were made of: what programs read of them is the trainer's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engine.runtime.storage.files import make_folder


class _Connector:
    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return getattr(self._trainer, name)
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}, nor has the trainer, where all of it is"
            ) from None


class AcceleratorConnector(_Connector):
    """How the processes work together: `trainer.accelerator_connector`."""

    use_dp = use_ddp2 = use_horovod = use_tpu = False

    @property
    def use_ddp(self) -> bool:
        """Whether there are other processes."""
        return bool(self._trainer.world_size > 1)

    is_distributed = use_ddp

    @property
    def use_single_gpu(self) -> bool:
        """Whether there is one process, on a GPU."""
        return bool(self._trainer.on_gpu) and not self.use_ddp

    @property
    def parallel_device_ids(self) -> list[int] | None:
        """The GPUs of this node's processes, None on a CPU."""
        found: list[int] | None = self._trainer.data_parallel_device_ids
        return found


class CheckpointConnector(_Connector):
    """What a checkpoint of this moment holds: `trainer.checkpoint_connector`."""

    @property
    def resume_from_checkpoint_fit_path(self) -> Any:
        """The checkpoint that the next fit begins from, if it is given no other; can be set."""
        return self._trainer.resume_from_checkpoint

    @resume_from_checkpoint_fit_path.setter
    def resume_from_checkpoint_fit_path(self, path: Any) -> None:
        self._trainer.resume_from_checkpoint = path

    resume_checkpoint_path = resume_from_checkpoint_fit_path

    def restore(self, checkpoint_path: str | os.PathLike[str] | None = None) -> None:
        """Give the module of this run the weights of a checkpoint; call it on all ranks."""
        if checkpoint_path is not None:
            self._trainer._load_weights(os.fspath(checkpoint_path))

    @property
    def has_trained(self) -> bool:
        """Whether a step was taken."""
        return bool(self._trainer.global_step)

    def dump_checkpoint(self, weights_only: bool = False) -> dict[str, Any]:
        """The content of a checkpoint; call it on all ranks, rank zero's counts."""
        found: dict[str, Any] = self._trainer._dump(weights_only)
        return found

    def hpc_save(self, folderpath: str | os.PathLike[str], logger: Any = None) -> str:
        """Write a checkpoint into a folder, under the next number; returns its path."""
        make_folder(folderpath)
        names = [name for name in os.listdir(folderpath) if name.startswith("hpc_ckpt_")]
        numbers = [int("".join(filter(str.isdigit, name)) or 0) for name in names]
        number = self._trainer.strategy.broadcast(max(numbers, default=0) + 1)
        path = os.path.join(folderpath, f"hpc_ckpt_{number}.ckpt")
        self._trainer.save_checkpoint(path)
        return path


class DataConnector(_Connector):
    """`trainer.data_connector`: data module and loaders are the trainer's own."""


class LoggerConnector(_Connector):
    """`trainer.logger_connector`: metrics are the trainer's own."""

    def configure_logger(self, logger: Any) -> None:
        """Log to one or several loggers; None or False: to none."""
        self._trainer.logger = logger

    def log_metrics(
        self, metrics: Mapping[str, Any], grad_norm_dict: Any = None, step: int | None = None
    ) -> None:
        """Hand values to all loggers."""
        values = {**metrics, **(grad_norm_dict or {})}
        if values and self._trainer.is_global_zero:
            for logger in self._trainer.loggers:
                logger.log_metrics(values, self._trainer.global_step if step is None else step)
