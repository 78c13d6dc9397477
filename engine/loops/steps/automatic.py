"""One training batch: forward, backward and, at the end of a window of batches, a step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from engine.loops.hooks import by_name
from engine.loops.run import Run
from engine.loops.steps.missing import say_missing
from engine.loops.steps.returned import was_logged
from engine.runtime.data.samplers import mapped
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException

Backward = Callable[[torch.Tensor], None]


class Counts(Protocol):
    """Something that counts steps: a run's progress, or one of several optimizers."""

    step: int


class TrainingStep:
    """Runs batches through the module and steps its optimizer; all that a run never changes is
    looked up once, here.

    `place` is given where it is one of several optimizers.
    """

    def __init__(
        self,
        run: Run,
        forward: Callable[[Any, int], Any],
        wants_outputs: bool,
        place: tuple[int, Counts] | None = None,
    ) -> None:
        optimizers = run.optimization.optimizers
        self.idx, self.counts = place or (0, run.state.progress)
        self.optimizer = optimizers[self.idx] if optimizers else None
        self.window = 1  # batches in a window of accumulation
        self.parts = 1  # parts of a batch whose mean is stepped with
        self.pending = False  # the window has gradients already
        self._is_clear = False  # it has forgotten those of the last, without any of its own
        self._run = run
        self._progress = run.state.progress
        self._logged = run.logged
        self._wants_outputs = wants_outputs
        self._forward = forward
        self._zero_grad = zero_grad_function(run, self.optimizer, self.idx)
        self._backward = backward_function(run, self.optimizer, self.idx)
        self._before_step = before_step_function(run, self.optimizer, self.idx)
        self._updates_scale = place is None  # several do that once, when all have stepped
        many = run.strategy.world.world_size > 1
        self._no_sync: Callable[[], AbstractContextManager[object]] | None = None
        if many:
            self._no_sync = run.strategy.no_sync

    @property
    def has_scaler(self) -> bool:
        """Whether gradients are scaled, for the sake of 16 bits."""
        return self._run.precision.scaler is not None

    def begin_epoch(self, window: int) -> None:
        """Begin with windows of so many batches."""
        self.window, self.pending, self._is_clear = window, False, False

    def arranged(self, outputs: list[Any]) -> list[Any]:
        """What `training_epoch_end` gets."""
        return outputs

    def joined(self, outputs: list[Any]) -> Any:
        """What hooks get of a batch that ran in parts."""
        return [output for output in outputs if output is not None] or None

    def __call__(self, batch: Any, batch_idx: int, ends_window: bool, window: int) -> Any:
        """Run one batch; returns what `on_train_batch_end` gets, None for a skipped batch.

        `window` is the number of batches in this window of accumulation, so far or in all.
        """
        if not ends_window:
            if self._no_sync is None:
                return self._gradients(batch, batch_idx)[1]
            with self._no_sync():
                return self._gradients(batch, batch_idx)[1]
        loss, output = self._gradients(batch, batch_idx)
        if loss is None:
            self._join()
        if self.pending:
            self._complete_window(window)
            self.take_step()
        self.pending = self._is_clear = False
        return output

    def _gradients(self, batch: Any, batch_idx: int) -> Any:
        """Forward and backward of one batch: (loss, output), (None, None) if it is skipped."""
        self._begin(batch)
        raw = self._without_batch() if batch is None else self._forward(batch, batch_idx)
        return self._pass_back(raw, batch, batch_idx)

    def _begin(self, batch: Any) -> None:
        self._logged.batch, self._logged.hook = batch, "training_step"

    def _without_batch(self) -> Any:
        say_missing("training")
        return self._run.strategy.step_without_batch()

    def _pass_back(self, raw: Any, batch: Any, batch_idx: int) -> Any:
        """Backward of what the training step returned."""
        self._logged.hook = None
        if raw is None:
            self._count_skip(batch)
            self._forget(batch_idx)
            return None, None
        loss = raw if isinstance(raw, torch.Tensor) else self._loss_of(raw)
        output = outputs_of(raw, loss) if self._wants_outputs else None
        if self.optimizer is None and not loss.requires_grad:
            return loss, output
        if not self.pending and not self._is_clear and self._zero_grad is not None:
            self._zero_grad(batch_idx)
        shares = self.window * self.parts
        try:
            self._backward(loss / shares if shares > 1 else loss)
        except RuntimeError as error:
            _explain(loss, error)
            raise
        self.pending = self.optimizer is not None
        return loss, output

    def _loss_of(self, output: Any) -> torch.Tensor:
        loss = loss_of(output)
        has_old = "log" in output or "progress_bar" in output
        if has_old and not was_logged(self._run, "training_step", output):
            _say_old_keys()
        return loss

    def _count_skip(self, batch: Any) -> None:
        self._run.strategy.skip_batch()
        if batch is None:
            return
        self._run.state.skipped += 1
        if self._run.state.skipped == 1:
            rank_zero_warn(
                "training_step returned None: the batch is skipped (said once; the end of the fit "
                "says how many)"
            )

    def _forget(self, batch_idx: int) -> None:
        """With other ranks: old gradients must not be there when theirs are averaged, which may be
        in the turn of another optimizer; and what comes then must stay.
        """
        if self._no_sync is None or self._zero_grad is None:
            return
        if not self.pending and not self._is_clear:
            self._zero_grad(batch_idx)
        self._is_clear = True

    def _join(self) -> None:
        """Without a loss here: another rank may have one, and averages gradients with all."""
        if self._no_sync is not None:
            has_any = self._run.strategy.join_without_loss(self.pending)
            self.pending = has_any and self.optimizer is not None

    def _complete_window(self, window: int) -> None:
        """Make the gradients those of the whole window: the last of an epoch may be short."""
        assert self.optimizer is not None
        if window == self.window:
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:  # it is a mean over fewer batches
                    parameter.grad.mul_(self.window / window)

    def take_step(self, **kwargs: Any) -> None:
        """Step the optimizer, once its gradients are unscaled and clipped."""
        optimizer, scaler = self.optimizer, self._run.precision.scaler
        assert optimizer is not None
        if self._before_step is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            self._before_step()
        if scaler is None:
            optimizer.step(**kwargs)
        else:
            scaler.step(optimizer, **kwargs)
            if self._updates_scale:
                scaler.update()
        self.counts.step += 1


# ---------------------------------------------------------------------- the pieces


def loss_of(output: Any) -> torch.Tensor:
    """The loss in what `training_step` returned."""
    loss = output.get("loss") if isinstance(output, Mapping) else None
    if not isinstance(loss, torch.Tensor):
        raise MisconfigurationException(
            "training_step returns a tensor (the loss), a dict with the key 'loss', or None to "
            f"skip the batch; this one returned {_shown(output)}"
        )
    return loss


@functools.cache
def _say_old_keys() -> None:
    """Once a process: before 1.0 these keys logged, and silence would be a loss of curves."""
    rank_zero_warn(
        "training_step returned a dict with 'log' or 'progress_bar': only training_epoch_end gets "
        "them, nothing is logged. Call self.log(name, value, prog_bar=...) in the step"
    )


def _shown(output: Any) -> str:
    if isinstance(output, Mapping) and "loss" in output:
        return f"a dict whose 'loss' is a {type(output['loss']).__name__}"
    if isinstance(output, Mapping):
        return f"a dict with the keys {list(output)}"
    return f"a {type(output).__name__}"


def detached(value: Any) -> Any:
    """A value without the graph behind it."""
    return value.detach() if isinstance(value, torch.Tensor) else mapped(value, detached)


def outputs_of(raw: Any, loss: torch.Tensor) -> dict[str, Any]:
    """What hooks and `training_epoch_end` get of a step: detached, always a dict."""
    if isinstance(raw, Mapping):
        return {key: detached(value) for key, value in raw.items()}
    return {"loss": loss.detach()}


def zero_grad_function(run: Run, optimizer: Any, idx: int) -> Callable[[int], None] | None:
    """Forgets the gradients of the last window."""
    if optimizer is None:
        return None
    hook = run.hooks.find("on_before_zero_grad", 1)
    own = run.hooks.own("optimizer_zero_grad")
    progress, logged = run.state.progress, run.logged
    if own is not None:
        named = by_name(own, "epoch", "batch_idx", "optimizer", "optimizer_idx")

    def zero_grad(batch_idx: int) -> None:
        if hook is not None:
            hook(optimizer)
        if own is None:
            optimizer.zero_grad()
        else:
            logged.hook = "optimizer_zero_grad"
            named(progress.epoch, batch_idx, optimizer, idx)
            logged.hook = None

    return zero_grad


def _explain(loss: torch.Tensor, error: RuntimeError) -> None:
    """What torch's words for a loss without gradient, or of many numbers, mean here."""
    why = None
    if loss.numel() != 1:
        why = f"has the shape {tuple(loss.shape)}; it is one number, such as loss.mean()"
    elif not loss.requires_grad:
        why = (
            "has no gradient: no parameter that is trained took part in it, or it was detached, "
            "computed under no_grad, or made from numbers"
        )
    if why is not None:
        raise RuntimeError(f"the loss that training_step returned {why} ({error})") from error


def backward_function(run: Run, optimizer: Any, idx: int) -> Backward:
    """Computes gradients, with the hooks around it."""
    before = run.hooks.find("on_before_backward", 1)
    after = run.hooks.find("on_after_backward")
    own = run.hooks.own("backward")
    scaler, logged = run.precision.scaler, run.logged
    if before is None and after is None and own is None and scaler is None:
        return torch.Tensor.backward
    named = None if own is None else by_name(own, "loss", "optimizer", "optimizer_idx")

    def backward(loss: torch.Tensor) -> None:
        if before is not None:
            before(loss)
        if scaler is not None:
            loss = scaler.scale(loss)
        if named is None:
            loss.backward()  # type: ignore[no-untyped-call]  # torch
        else:
            logged.hook = "backward"
            named(loss, optimizer, idx)
            logged.hook = None
        if after is not None:
            after()

    return backward


def before_step_function(run: Run, optimizer: Any, idx: int) -> Callable[[], None] | None:
    """What happens to complete gradients before the optimizer uses them."""
    hook = run.hooks.find("on_before_optimizer_step", 2)
    own = run.hooks.own("configure_gradient_clipping")
    clip, algorithm = run.settings.fit.gradient_clip_val, run.settings.fit.gradient_clip_algorithm
    if hook is None and own is None and not clip:
        return None
    names = ("optimizer", "optimizer_idx", "gradient_clip_val", "gradient_clip_algorithm")
    clipping = None if own is None else by_name(own, *names)
    clip_gradients, logged = run.module.clip_gradients, run.logged

    def before_step() -> None:
        if hook is not None:
            hook(optimizer, idx)
        if clipping is not None:
            logged.hook = "configure_gradient_clipping"
            clipping(optimizer, idx, clip, algorithm)
            logged.hook = None
        elif clip:
            clip_gradients(optimizer, clip, algorithm)

    return before_step
