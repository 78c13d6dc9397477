"""Which way of stepping a module wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from engine.loops.manual import ManualStep
from engine.loops.optimize import TrainingStep, fitted_forward
from engine.loops.several import Turns
from engine.run import Run


class Step(Protocol):
    """Runs training batches, and steps what learns from them."""

    window: int

    def begin_epoch(self, window: int) -> None:
        """Begin with windows of so many batches."""

    def arranged(self, outputs: list[Any]) -> list[Any]:
        """What `training_epoch_end` gets."""

    def __call__(self, batch: Any, batch_idx: int, ends_window: bool, window: int) -> Any:
        """Run one batch; returns what hooks get of it."""


def step_of(run: Run, forward: Callable[..., Any], wants_outputs: bool) -> Step:
    """What runs the batches of this module."""
    if not run.module.automatic_optimization:
        return ManualStep(run, forward, wants_outputs)
    run.module.__dict__["_manual"] = None
    if len(run.optimization.optimizers) > 1:
        return Turns(run, forward, wants_outputs)
    run.state.progress.optimizer_steps = []
    return TrainingStep(run, fitted_forward(run, forward), wants_outputs)
