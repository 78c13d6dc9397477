"""One training batch of a module that steps its optimizers by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from engine.loops.hooks import by_name, takes
from engine.loops.optimizers import LightningOptimizer, asks_for_closure
from engine.loops.run import Run
from engine.loops.state import accumulation_of
from engine.loops.steps.automatic import detached
from engine.loops.steps.missing import say_missing
from engine.runtime.errors import MisconfigurationException


class ManualStep:
    """Runs batches, and does for the module what belongs to a backward pass and to a step.

    A batch in which the module stepped an optimizer is one step of the run, however often it did.
    """

    def __init__(self, run: Run, forward: Callable[..., Any], wants_outputs: bool) -> None:
        _refuse_automatic(run)
        module = run.module
        self.window = self.parts = 1
        self._run = run
        self._forward = forward
        self._wants_outputs = wants_outputs
        self._before_backward = run.hooks.find("on_before_backward", 1)
        self._after_backward = run.hooks.find("on_after_backward")
        self._before_step = run.hooks.find("on_before_optimizer_step", 2)
        self._own_backward = run.hooks.own("backward")
        self._toggle = by_name(module.toggle_optimizer, "optimizer", "optimizer_idx")
        self._untoggle = by_name(module.untoggle_optimizer, "optimizer", "optimizer_idx")
        self._averages = run.strategy.world.world_size > 1
        self._has_stepped = False
        self._scale_is_old = False  # a step has used it: time to bring it up to date
        self._unscaled: set[int] = set()  # optimizers whose gradients are, since then
        run.state.progress.optimizer_steps = []
        module.__dict__["_manual"] = self
        self.take(run.optimization.optimizers)

    def take(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Step these from now on, also in the batch that runs."""
        self.optimizers = [
            LightningOptimizer(one, partial(self._step, one, idx), partial(self._turn, one, idx))
            for idx, one in enumerate(optimizers)
        ]
        self._asks = [asks_for_closure(one) for one in optimizers]
        for one in optimizers:
            _tell_of_steps(one, self)

    def begin_epoch(self, window: int) -> None:
        """Nothing begins: the module accumulates as it likes."""

    def arranged(self, outputs: list[Any]) -> list[Any]:
        """What `training_epoch_end` gets."""
        return outputs

    def joined(self, outputs: list[Any]) -> Any:
        """What hooks get of a batch that ran in parts."""
        return [output for output in outputs if output is not None] or None

    def __call__(self, batch: Any, batch_idx: int, ends_window: bool, window: int) -> Any:
        """Run one batch; returns what the step returned, detached."""
        if batch is None:
            self._skip(batch_idx)
            return None
        logged = self._run.logged
        logged.batch, logged.hook = batch, "training_step"
        progress = self._run.state.progress
        self._has_stepped, before = False, progress.step
        raw = self._forward(batch, batch_idx)
        logged.hook = None
        self._update_scale()
        if self._has_stepped and progress.step == before:  # else the module has counted itself
            progress.step += 1
        if raw is None or not self._wants_outputs:
            return None
        return detached(raw if isinstance(raw, Mapping) else {"loss": raw})

    def _skip(self, batch_idx: int) -> None:
        """Leave out a batch that is none: alone, since no rank knows how often others pass back."""
        if self._run.strategy.world.world_size > 1:
            raise MisconfigurationException(
                f"the training loader gave None as batch {batch_idx}: a module that steps by hand "
                "passes back together with other ranks, so every rank needs every batch. Leave "
                "broken samples out in the dataset, or fill the batch with others"
            )
        say_missing("training")

    # ------------------------------------------------------------------ for the module

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients, averaged over the ranks; further arguments are torch's."""
        self._update_scale()
        if self._before_backward is not None:
            self._before_backward(loss)
        precision = self._run.precision
        if precision.scaler is not None:
            loss = precision.scaler.scale(loss)
        if args and isinstance(args[0], (LightningOptimizer, torch.optim.Optimizer)):
            args = args[1:]  # 1.0 to 1.2 were told the optimizer, too
        own = self._own_backward
        if own is None:
            with torch.autocast(self._run.device.type, enabled=False):
                loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch
        elif takes(own, "optimizer"):  # as in 1.x
            own(loss, None, None, *args, **kwargs)
        else:
            own(loss, *args, **kwargs)
        if self._averages:
            parameters = [p for p in self._run.module.parameters() if p.requires_grad]
            self._run.strategy.average_gradients(parameters)
        if self._after_backward is not None:
            self._after_backward()

    def unscale(self, optimizer: Any) -> None:
        """Make gradients what they are without the loss's scale, before they are looked at."""
        scaler = self._run.precision.scaler
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if scaler is not None and id(optimizer) not in self._unscaled:
            self._unscaled.add(id(optimizer))
            scaler.unscale_(optimizer)

    # ------------------------------------------------------------------ the optimizers' part

    def _step(self, optimizer: Any, idx: int, closure: Any = None, **kwargs: Any) -> Any:
        scaler = self._run.precision.scaler

        def gradients() -> Any:
            loss = None if closure is None else closure()
            if self._before_step is not None:
                self.unscale(optimizer)
                self._before_step(optimizer, idx)
            return loss

        self._has_stepped = True
        if scaler is None and (closure is not None or self._asks[idx]):
            return optimizer.step(gradients, **kwargs)
        loss = gradients()
        if scaler is None:
            optimizer.step(**kwargs)
        else:
            scaler.step(optimizer, **kwargs)
            self._scale_is_old = True
        return loss

    def _update_scale(self) -> None:
        """A new scale is for new gradients: between a step and the next backward pass."""
        if self._scale_is_old:
            assert self._run.precision.scaler is not None
            self._run.precision.scaler.update()
            self._scale_is_old = False
            self._unscaled.clear()

    @contextmanager
    def _turn(self, optimizer: Any, idx: int, sync_grad: bool) -> Iterator[None]:
        averages = self._averages
        self._averages = averages and sync_grad
        self._toggle(optimizer, idx)
        try:
            yield
        finally:
            self._untoggle(optimizer, idx)
            self._averages = averages


def _tell_of_steps(optimizer: Any, step: ManualStep) -> None:
    """A step counts if the module takes the optimizer itself, too: else the run would stand still,
    without checkpoints and without an end, and nobody would say so.
    """
    told, register = weakref.ref(step), getattr(optimizer, "register_step_post_hook", None)

    def note(*_: Any) -> None:
        if (listener := told()) is not None:
            listener._has_stepped = True
        else:
            registered.remove()

    if register is not None:
        registered = register(note)


def _refuse_automatic(run: Run) -> None:
    """What only automatic optimisation does must not be asked for."""
    fit = run.settings.fit
    name, instead = "", ""
    if fit.gradient_clip_val:
        name, instead = "gradient_clip_val", "self.clip_gradients(optimizer, ...) before a step"
    elif accumulation_of(fit, run.state) not in (1, {0: 1}):
        name, instead = "accumulate_grad_batches", "step after every n-th batch only"
    if name:
        raise MisconfigurationException(
            f"Trainer({name}=...) has no effect on a module that steps by hand "
            f"(automatic_optimization is False): leave it out, and in training_step do it "
            f"yourself: {instead}"
        )
