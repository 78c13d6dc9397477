"""GPU memory, logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from engine.callbacks.attach import attach
from engine.callbacks.base import Callback
from engine.runtime.distributed import gpus
from engine.runtime.distributed.world import rank_zero_warn

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer

MB = 2**20


class GpuMemory(Callback):
    """Logs the memory in use on the GPUs of rank zero's machine, every `log_every_n_steps`.

    `mode`: "all" is a value for each GPU, "min_max" the least and the most. The driver is asked
    at those steps only.
    """

    def __init__(self, mode: str = "all") -> None:
        self.mode = mode
        self._logged_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look only where there is something to see, and somebody to write it down."""
        if trainer.strategy.root_device.type != "cuda":
            rank_zero_warn("log_gpu_memory: this run uses no GPU, there is nothing to log")
        elif trainer.loggers and trainer.is_global_zero and trainer.log_every_n_steps:
            attach(self, "on_train_batch_end", self._after_batch)

    def _after_batch(self, trainer: Trainer, *_: object) -> None:
        step = trainer.global_step - 1
        if step == self._logged_step or (step + 1) % trainer.log_every_n_steps:
            return
        self._logged_step = step
        values = {**self._read(), "epoch": trainer.current_epoch}
        for logger in trainer.loggers:
            logger.log_metrics(values, step)

    def _read(self) -> dict[str, float]:
        with gpus.driver() as nvml:
            used = gpus.memory_used(nvml, range(torch.cuda.device_count()))
        in_mb = {index: amount / MB for index, amount in used.items()}
        if self.mode == "min_max":
            return {"min_gpu_mem": min(in_mb.values()), "max_gpu_mem": max(in_mb.values())}
        return {f"gpu_id: {index}/memory.used (MB)": amount for index, amount in in_mb.items()}
