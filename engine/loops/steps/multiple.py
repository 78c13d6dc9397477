"""One training batch with several optimizers: each has its turn, with a loss of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch

from engine.loops.hooks import by_name
from engine.loops.run import Run
from engine.loops.steps.automatic import TrainingStep
from engine.loops.steps.closure import training_step

Gradients = list[tuple[torch.nn.Parameter, torch.Tensor]]
Others = list[tuple[TrainingStep, list[torch.nn.Parameter]]]


@dataclass
class Steps:
    """How many steps one optimizer has taken in this process."""

    step: int = 0


class Turns:
    """Runs each batch through the module once for each optimizer whose turn it is.

    All optimizers have their turn in every batch, or, where they have frequencies, one after the
    other for so many windows of accumulation each. A batch after which any has stepped is one step
    of the run.
    """

    def __init__(self, run: Run, forward: Callable[..., Any], wants_outputs: bool) -> None:
        optimizers = run.optimization.optimizers
        self._turns = [
            training_step(run, partial(forward, optimizer_idx=idx), wants_outputs, (idx, Steps()))
            for idx in range(len(optimizers))
        ]
        self.window = 1
        self._others: list[Others] = []
        self._ends = list(accumulate(run.optimization.frequencies))
        self._progress, self._scaler = run.state.progress, run.precision.scaler
        self._toggle = by_name(run.module.toggle_optimizer, "optimizer", "optimizer_idx")
        untoggle = run.module.untoggle_optimizer
        self._untoggle = by_name(untoggle, "optimizer", "optimizer_idx")
        if len(self._progress.optimizer_steps) != len(optimizers):
            self._progress.optimizer_steps = [0] * len(optimizers)

    def begin_epoch(self, window: int) -> None:
        """Begin with windows of so many batches."""
        self.window = window
        self._others = [self._only_others(turn) for turn in self._turns]
        for turn in self._turns:
            turn.begin_epoch(window)

    @property
    def parts(self) -> int:
        """Parts of a batch whose mean is stepped with."""
        return self._turns[0].parts

    @parts.setter
    def parts(self, count: int) -> None:
        for turn in self._turns:
            turn.parts = count

    def joined(self, outputs: list[Any]) -> Any:
        """What hooks get of a batch that ran in parts: a list of them for each optimizer."""
        ran = [output for output in outputs if output is not None]
        mine = [[o for o in one if o is not None] or None for one in zip(*ran, strict=True)]
        return mine or None

    def arranged(self, outputs: list[Any]) -> list[Any]:
        """What `training_epoch_end` gets: a list of outputs for each optimizer."""
        return [[o for o in mine if o is not None] for mine in zip(*outputs, strict=True)]

    def __call__(self, batch: Any, batch_idx: int, ends_window: bool, window: int) -> Any:
        """Run one batch; returns a list with what each optimizer's training step returned."""
        outputs: list[Any] = [None] * len(self._turns)
        stepped = False
        for turn in self._due():
            idx, before = turn.idx, turn.counts.step
            self._toggle(turn.optimizer, idx)
            aside = self._put_aside(turn)
            try:
                outputs[idx] = turn(batch, batch_idx, ends_window, window)
            finally:
                put_back(aside)
                self._untoggle(turn.optimizer, idx)
            if turn.counts.step != before:
                self._progress.optimizer_steps[idx] += 1
                stepped = True
        if stepped:
            self._progress.step += 1
            if self._scaler is not None:
                self._scaler.update()
        if ends_window:
            self._progress.windows += 1
        return outputs if any(output is not None for output in outputs) else None

    def _put_aside(self, turn: TrainingStep) -> Gradients:
        """Take the gradients that only the other optimizers have, of their last steps: in a turn
        there are none but its own. Those that wait for the end of a window stay, since
        DistributedDataParallel may keep them in memory of its own.
        """
        aside: Gradients = []
        for other, parameters in self._others[turn.idx]:
            if other.pending:
                continue
            for parameter in parameters:
                if parameter.grad is not None:
                    aside.append((parameter, parameter.grad))
                    parameter.grad = None
        return aside

    def _only_others(self, turn: TrainingStep) -> Others:
        """The other optimizers, each with its parameters that are not this one's, too."""
        mine = {id(parameter) for parameter in parameters_of(turn)}
        return [
            (other, [one for one in parameters_of(other) if id(one) not in mine])
            for other in self._turns
            if other is not turn
        ]

    def _due(self) -> list[TrainingStep]:
        if not self._ends:
            return self._turns
        place = self._progress.windows % self._ends[-1]
        return [self._turns[next(i for i, end in enumerate(self._ends) if place < end)]]


def parameters_of(turn: TrainingStep) -> Iterator[torch.nn.Parameter]:
    """The parameters that an optimizer steps."""
    assert turn.optimizer is not None
    for group in turn.optimizer.param_groups:
        yield from group["params"]


def put_back(gradients: Gradients) -> None:
    """Let gradients be seen again, until the next ones are computed."""
    for parameter, gradient in gradients:
        if parameter.grad is None:
            parameter.grad = gradient
