"""One training batch whose step is the module's: it has an `optimizer_step` of its own.

The module gets a closure that computes the gradients, as an optimizer such as LBFGS does, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from engine.loops.hooks import by_name
from engine.loops.optimizers import LightningOptimizer, asks_for_closure
from engine.loops.run import Run
from engine.loops.steps.automatic import Counts, TrainingStep
from engine.runtime.errors import MisconfigurationException

Closure = Callable[[], Any]


class NothingToStepWith(Exception):
    """The batch has no loss, on no rank: an optimizer that asks for one is not to step."""


def training_step(
    run: Run,
    forward: Callable[..., Any],
    wants_outputs: bool,
    place: tuple[int, Counts] | None = None,
) -> TrainingStep:
    """What runs the batches of an optimizer, in the way that its module wants it stepped."""
    optimizers = run.optimization.optimizers
    optimizer = optimizers[place[0] if place else 0] if optimizers else None
    if optimizer is None:
        return TrainingStep(run, forward, wants_outputs, place)
    own = run.hooks.own("optimizer_step")
    if own is None and not asks_for_closure(optimizer):
        return TrainingStep(run, forward, wants_outputs, place)
    return OverriddenStep(run, forward, wants_outputs, place)


class OverriddenStep(TrainingStep):
    """Leaves the end of each window to the module's `optimizer_step`, or to the optimizer."""

    def __init__(
        self,
        run: Run,
        forward: Callable[..., Any],
        wants_outputs: bool,
        place: tuple[int, Counts] | None = None,
    ) -> None:
        super().__init__(run, forward, wants_outputs, place)
        assert self.optimizer is not None
        flags = ("on_tpu", "using_native_amp", "using_lbfgs")
        names = ("epoch", "batch_idx", "optimizer", "optimizer_idx", "optimizer_closure", *flags)
        own = run.hooks.own("optimizer_step")
        self._own = None if own is None else by_name(own, *names)
        is_lbfgs = isinstance(self.optimizer, torch.optim.LBFGS)
        self._flags = (False, run.precision.is_mixed, is_lbfgs)
        self._wrapped = SteppedOptimizer(self.optimizer, self)
        self._closure: Closure | None = None  # of the batch that runs
        self._prepares = False  # it does what comes before a step, too
        self.asks = asks_for_closure(self.optimizer)
        self._has_run = False  # it has, for this batch
        self.is_skipped = False  # and there is nothing to step with
        self._steps_seen = note_steps(self.optimizer) if own is not None else set()

    def __call__(self, batch: Any, batch_idx: int, ends_window: bool, window: int) -> Any:
        """Run one batch; returns what `on_train_batch_end` gets, None for a skipped batch."""
        if not ends_window:
            return super().__call__(batch, batch_idx, ends_window, window)
        began, was_clear, output = self.pending, self._is_clear, None
        self._has_run = self.is_skipped = False
        steps = self.counts.step

        def closure() -> Any:
            nonlocal output
            self._has_run = True
            self.pending, self._is_clear = began, was_clear
            with torch.enable_grad():  # optimizers of other libraries may have it off
                self._begin(batch)
                raw = self._without_batch() if batch is None else self._forward(batch, batch_idx)
                loss, output = self._pass_back(raw, batch, batch_idx)
            self._complete(loss, window)
            if self._prepares:
                self.prepare()
            if loss is None and self.pending:  # other batches or ranks have one
                return torch.zeros((), device=self._run.device)
            return loss

        self._closure = closure
        if self._own is None:
            self._wrapped.step(closure)
        else:
            epoch, optimizer = self._progress.epoch, self._wrapped
            self._logged.hook = "optimizer_step"
            self._own(epoch, batch_idx, optimizer, self.idx, closure, *self._flags)
            self._logged.hook = None
            if self._steps_seen and self.counts.step == steps:
                self.counts.step += 1  # it has stepped `optimizer.optimizer`
            self._steps_seen.clear()
        if self.counts.step != steps and not self._has_run:
            raise MisconfigurationException(_NO_CLOSURE.format(batch_idx=batch_idx))
        # A module may leave out a step; then the gradients so far wait for the next one only if
        # it did not run the closure either, as in a plain loop.
        self.pending = self._is_clear = False
        self._closure = None
        return output

    def _complete(self, loss: torch.Tensor | None, window: int) -> None:
        assert self.optimizer is not None
        if loss is None:
            self._join()
        if self.pending:
            self._complete_window(window)
        else:
            self.optimizer.zero_grad()  # nothing to step with: no gradient of an old window
            self.is_skipped = True

    def prepare(self) -> None:
        """What comes before a step that is taken with a closure; raises if there is to be none."""
        if self.is_skipped:
            raise NothingToStepWith
        if self._before_step is not None:
            self._before_step()

    def with_preparation(self, closure: Closure) -> Closure:
        """`closure` and then what comes before a step; the batch's own ends with that by itself,
        so that there is no further frame above the training step.
        """
        self._prepares = closure is self._closure
        if self._prepares:
            return closure

        def gradients() -> Any:
            loss = closure()
            self.prepare()
            return loss

        return gradients

    def has_stepped(self, is_counted: bool) -> None:
        """The optimizer is done with the closure that it was given."""
        self._prepares = False
        self.counts.step += is_counted


class SteppedOptimizer(LightningOptimizer):
    """The optimizer as `optimizer_step` gets it."""

    def __init__(self, optimizer: torch.optim.Optimizer, batches: OverriddenStep) -> None:
        super().__init__(optimizer, batches.take_step)
        self.__dict__["_batches"] = batches

    def step(self, closure: Any = None, **kwargs: Any) -> Any:
        """Unscale, clip and step; `closure` computes the gradients."""
        batches: OverriddenStep = self.__dict__["_batches"]
        if closure is None or batches.has_scaler:  # which cannot step with a closure
            result = None if closure is None else closure()
            if not batches.is_skipped:
                if batches.asks and not batches.has_scaler:
                    kwargs["closure"] = lambda: None  # gradients are there
                batches.take_step(**kwargs)
            return result
        try:
            result = self.optimizer.step(batches.with_preparation(closure), **kwargs)
        except NothingToStepWith:
            batches.has_stepped(False)
            return None
        batches.has_stepped(True)
        return result


def note_steps(optimizer: torch.optim.Optimizer) -> set[str]:
    """A set that is no longer empty once the optimizer steps, whoever steps it."""
    seen: set[str] = set()
    optimizer.register_step_post_hook(lambda *_: seen.add("stepped"))
    return seen


_NO_CLOSURE = (
    "batch {batch_idx}: the optimizer has stepped, but nobody has called the closure, which runs "
    "training_step and backward: there were no new gradients. Hand it on in `optimizer_step`: "
    "optimizer.step(closure=optimizer_closure)"
)
