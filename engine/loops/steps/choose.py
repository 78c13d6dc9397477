"""Which way of stepping a module wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from engine.loops.run import Run
from engine.loops.steps.closure import training_step
from engine.loops.steps.forward import Memory, fitted_forward
from engine.loops.steps.manual import ManualStep
from engine.loops.steps.multiple import Turns
from engine.loops.steps.tbptt import Splits, is_split


class Step(Protocol):
    """Runs training batches, and steps what learns from them."""

    window: int  # batches in a window of accumulation
    parts: int  # parts of a batch whose mean is stepped with

    def begin_epoch(self, window: int) -> None:
        """Begin with windows of so many batches."""

    def arranged(self, outputs: list[Any]) -> list[Any]:
        """What `training_epoch_end` gets."""

    def joined(self, outputs: list[Any]) -> Any:
        """What hooks get of a batch that ran in parts."""

    def __call__(self, batch: Any, batch_idx: int, ends_window: bool, window: int) -> Any:
        """Run one batch; returns what hooks get of it."""


def step_of(run: Run, forward: Callable[..., Any], wants_outputs: bool) -> Any:
    """What runs the batches of this module: a `Step`, or one that cuts batches for it."""
    memory = Memory() if is_split(run) else None
    step = _whole(run, fitted_forward(run, forward, memory), wants_outputs)
    return step if memory is None else Splits(run, step, memory)


def _whole(run: Run, forward: Callable[..., Any], wants_outputs: bool) -> Step:
    if not run.module.automatic_optimization:
        return ManualStep(run, forward, wants_outputs)
    run.module.__dict__["_manual"] = None
    if len(run.optimization.optimizers) > 1:
        return Turns(run, forward, wants_outputs)
    run.state.progress.optimizer_steps = []
    return training_step(run, forward, wants_outputs)
