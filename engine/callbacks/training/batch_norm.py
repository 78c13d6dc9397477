"""Batch norm's running statistics, computed anew for weights that no batch was trained with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from engine.runtime.distributed import world
from engine.runtime.torch_internals.torch_parts import BatchNorm

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import Batch
    from engine.trainer.trainer import Trainer


def update_statistics(trainer: Trainer, module: LightningModule) -> None:
    """One pass over the training batches without a step; all ranks end with the same statistics.

    The statistics are plain averages over those batches. Nothing is logged meanwhile.
    """
    layers = [m for m in module.modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
    was_training = module.training
    module.train()
    module.__dict__["log"] = _log_nothing
    try:
        with torch.no_grad():
            for index, batch in enumerate(_batches(trainer, module)):
                _forward(module, batch, index)
    finally:
        del module.__dict__["log"]
        module.train(was_training)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for layer in layers:
        for statistics in (layer.running_mean, layer.running_var):
            if statistics is not None:
                statistics.copy_(world.all_reduce(statistics))


def _batches(trainer: Trainer, module: LightningModule) -> Iterator[Any]:
    """The training batches, on the device."""
    count, loader = trainer.num_training_batches, trainer.train_dataloader
    for order in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        if getattr(order, "start", 0):  # an epoch that was resumed began in its middle
            order.start = 0  # type: ignore[union-attr]  # asked for in the line above
    batches = iter(loader)
    for batch in batches if count == float("inf") else islice(batches, int(count)):
        prepared = _hook(trainer, module, "on_before_batch_transfer")(batch, 0)
        transfer = _hook(trainer, module, "transfer_batch_to_device")
        prepared = transfer(prepared, trainer.strategy.root_device, 0)
        yield _hook(trainer, module, "on_after_batch_transfer")(prepared, 0)


def _hook(trainer: Trainer, module: LightningModule, name: str) -> Any:
    """The data module's hook if it has one of its own, else the module's."""
    data = trainer.datamodule
    method = getattr(type(data), name, None)
    is_own = data is not None and not getattr(method, "__module__", "engine.").startswith("engine.")
    return getattr(data if is_own else module, name)


def _forward(module: LightningModule, batch: Batch, index: int) -> None:
    arguments = _step_arguments(module, batch, index)
    if arguments:
        step: Any = module.training_step
        step(*arguments)
    else:
        module(batch[0] if isinstance(batch, (list, tuple)) else batch)


def _step_arguments(module: LightningModule, batch: Batch, index: int) -> tuple[Any, ...]:
    """What the training step is called with; nothing where it would step, or is one of several."""
    if not module.automatic_optimization or len(module.trainer.optimizers) > 1:
        return ()
    step: Any = module.training_step
    taken = inspect.signature(step)
    for arguments in ((batch, index), (batch,)):
        with suppress(TypeError):
            taken.bind(*arguments)
            return arguments
    return ()


def _log_nothing(*args: Any, **kwargs: Any) -> None:
    """In the place of `self.log`."""
