"""The parts of one run, as the loops get them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.loops.hooks import Hooks, fitted, is_overridden
from engine.loops.optimizers import Optimization
from engine.loops.state import State
from engine.module.datamodule import LightningDataModule
from engine.module.logging.results import LoggedValues
from engine.module.logging.values import to_floats
from engine.module.module import LightningModule
from engine.runtime.coordination.signals import preemption
from engine.runtime.data import workers
from engine.runtime.data.combined import CombinedLoader
from engine.runtime.data.samplers import move, needs_move, with_type
from engine.runtime.data.streams import Dealt
from engine.runtime.errors import Preempted
from engine.runtime.settings import Settings
from engine.runtime.torch_internals.torch_parts import forget_iterator, shutdown_of
from engine.strategies.base import Strategy
from engine.strategies.precision import Precision


@dataclass(frozen=True)
class Run:
    """What a loop works with. It owns nothing: the trainer made all of it."""

    module: Any
    datamodule: Any
    settings: Settings
    state: State
    strategy: Strategy
    precision: Precision
    hooks: Hooks
    logged: LoggedValues
    loggers: list[Any]
    optimization: Optimization = field(default_factory=Optimization)
    datamodule_is_given: bool = True  # for this verb, not remembered from an earlier one
    outer: tuple[Any, Any] = (None, None)  # the trainer, and what logs, of a run around this one
    is_inner: bool = False  # a hook of another run of the same trainer has called this one

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self.strategy.root_device

    @property
    def is_global_zero(self) -> bool:
        """Whether this process writes."""
        return self.strategy.world.rank == 0


def send_to_loggers(run: Run, values: Mapping[str, Any], step: int | None = None) -> None:
    """Hand values to all loggers, from rank zero: one copy from the device for all of them."""
    if not values or not run.loggers or not run.is_global_zero:
        return
    floats = to_floats(values)
    progress = run.state.progress
    floats.setdefault("epoch", progress.epoch)
    if step is None:
        step = max(0, progress.step - 1)
    step = int(floats.pop("step", step))
    for logger in run.loggers:
        logger.log_metrics(floats, step)
    every = run.settings.output.flush_logs_every_n_steps
    if every and (step + 1) // every > run.logged.flushes:
        run.logged.flushes = (step + 1) // every
        for logger in run.loggers:
            logger.save()


def to_device_function(run: Run) -> Callable[[Any, int], Any] | None:
    """What a batch goes through on its way to the device; None if there is nothing to do.

    The hooks of the data module come before those of the module.
    """
    owner = run.module
    names = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
    found: list[Any] = []
    for name in names:
        method = None
        if run.datamodule is not None and is_overridden(name, run.datamodule, LightningDataModule):
            method = getattr(run.datamodule, name)
        elif is_overridden(name, owner, LightningModule):
            method = getattr(owner, name)
        found.append(method)
    offered = (2, 3, 2)  # overrides of 1.0 take no index of a loader
    before, transfer, after = (m and fitted(m, n) for m, n in zip(found, offered, strict=True))
    device, dtype = run.device, run.precision.dtype
    if before is None and transfer is None and after is None:
        if dtype is not None:
            return lambda batch, dataloader_idx: with_type(move(batch, device), dtype)
        if not needs_move(device):
            return None
        return lambda batch, dataloader_idx: move(batch, device)

    def to_device(batch: Any, dataloader_idx: int) -> Any:
        if before is not None:
            batch = before(batch, dataloader_idx)
        if transfer is not None:
            batch = transfer(batch, device, dataloader_idx)
        else:
            batch = move(batch, device)
        batch = batch if after is None else after(batch, dataloader_idx)
        return batch if dtype is None else with_type(batch, dtype)

    return to_device


def until_told(run: Run, batches: Iterator[Any]) -> Iterator[Any]:
    """The batches of an evaluation; none any more once the process is told to make room.

    Only a fit has something to save. It makes room between its steps, with its validation done.
    """
    stays = run.state.fn == "fit" or run.is_inner
    return batches if stays else _leaving(batches)


def _leaving(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        if preemption.signal is not None:
            raise Preempted
        yield batch


@contextmanager
def batches_of(loader: Any) -> Iterator[Iterator[Any]]:
    """An iterator over a loader; its worker processes end with it, whatever happens."""
    if isinstance(loader, (CombinedLoader, Dealt)):
        with loader.open(batches_of) as batches:
            yield batches
        return
    iterator = workers.begin(loader)
    shut = shutdown_of(iterator)
    try:
        yield iterator
    except BaseException:
        if shut is not None:
            shut()
            forget_iterator(loader)
        raise
    if shut is not None and not loader.persistent_workers:
        shut()
