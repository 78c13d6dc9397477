"""Measuring a run: where its actions are handed to the trainer's profiler.

Without a profiler nothing here is called in a step: what is measured is put around the run's parts
once, when the run begins, and taken off when it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import TYPE_CHECKING, Any

from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from engine.loops.hooks import Hook, Hooks
from engine.loops.run import Run
from engine.runtime.distributed.world import rank_zero_warn

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
_NAMES = {
    "simple": "SimpleProfiler",
    "advanced": "AdvancedProfiler",
    "pytorch": "PyTorchProfiler",
}


def make_profiler(given: Any) -> Any:
    """The profiler that `Trainer(profiler=...)` means; None where nothing is measured."""
    if given is None or type(given).__name__ == "PassThroughProfiler":
        return None
    if not isinstance(given, str):
        return given
    from engine import profilers

    return getattr(profilers, _NAMES[given])()


class ProfiledHooks(Hooks):
    """Hooks that are measured, each under its name; and the backward pass in between two."""

    def __init__(self, profiler: Any, *parts: Any) -> None:
        super().__init__(*parts)
        self.profiler = profiler
        self._backward = Stretch("backward")

    def _find(
        self, name: str, offered: int = 0, then: Callable[[], None] | None = None
    ) -> Hook | None:
        hook, profiler = super()._find(name, offered, then), self.profiler
        hook = None if hook is None else measured(profiler, name, hook)
        if name == "on_before_backward":
            return self._around_backward(hook, self._backward.begin, is_after=False)
        if name == "on_after_backward":
            return self._around_backward(hook, self._backward.end, is_after=True)
        return hook

    def _around_backward(
        self, hook: Hook | None, mark: Callable[[Any], None], is_after: bool
    ) -> Hook:
        def call(*args: Any) -> Any:
            if is_after:
                mark(self.profiler)
            result = None if hook is None else hook(*args)
            if not is_after:
                mark(self.profiler)
            return result

        return call

    def fetching(self, action: str, batches: Iterator[Batch]) -> Iterator[Any]:
        """The batches; waiting for each is measured."""
        nothing = object()
        while True:
            with self.profiler.profile(action):
                batch = next(batches, nothing)
            if batch is nothing:
                return
            yield batch


class Stretch:
    """An action between two calls, of which an error may leave out the second."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._owner: Any = None  # of the action that is open

    def begin(self, profiler: Any, owner: object = True) -> None:
        """Start, unless it is within another owner's."""
        if self._owner is owner:
            profiler.stop(self._action)
        if self._owner is None or self._owner is owner:
            self._owner = owner
            profiler.start(self._action)

    def end(self, profiler: Any, owner: object = True) -> None:
        """Stop what this owner started."""
        if self._owner is owner:
            self._owner = None
            profiler.stop(self._action)


def measured(profiler: Any, action: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose calls are an action of the profiler."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with profiler.profile(action):
            return function(*args, **kwargs)

    return call


class Measurement:
    """The profiler of a trainer, put around one run after the other."""

    def __init__(self, profiler: Any) -> None:
        self.profiler = profiler
        self._undo = ExitStack()
        self._measures = False

    def hooks(self, *parts: Any) -> Hooks:
        """The hooks of a run, measured if anything is."""
        if self.profiler is None:
            return Hooks(*parts)
        return ProfiledHooks(self.profiler, *parts)

    def begin(self, run: Run, verb: str, log_dir: str | None) -> None:
        """Measure this run's steps, its optimizers' steps and what its module is asked for."""
        profiler, module = self.profiler, run.module
        if profiler is None:
            return
        self._measures = True
        profiler.setup(verb, run.strategy.world.local_rank, log_dir)
        for name in (*STEPS, "configure_optimizers"):
            method = getattr(module, name, None)
            if callable(method) and name not in module.__dict__:
                module.__dict__[name] = measured(profiler, name, method)
                self._undo.callback(module.__dict__.pop, name, None)
        step = Stretch("optimizer_step")
        before = register_optimizer_step_pre_hook(lambda own, *_: step.begin(profiler, own))
        after = register_optimizer_step_post_hook(lambda own, *_: step.end(profiler, own))
        self._undo.callback(before.remove)
        self._undo.callback(after.remove)

    def end(self, verb: str) -> None:
        """Report, and leave no trace in the run's parts."""
        if not self._measures:
            return
        self._measures = False
        self._undo.close()
        try:
            self.profiler.describe()
        except OSError as error:  # a full disk must not hide what a run was for
            rank_zero_warn(f"the profiler's report is lost: {error}")
        self.profiler.teardown(verb)
