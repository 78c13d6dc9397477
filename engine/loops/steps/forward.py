"""The training step as the loops call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from engine.loops.hooks import accepted, requires, takes
from engine.loops.run import Run
from engine.loops.steps.automatic import detached
from engine.runtime.errors import MisconfigurationException

_INDEX = "optimizer_idx"


class Memory:
    """What the last split of this batch left to the next: one for each optimizer."""

    def __init__(self) -> None:
        self._hiddens: dict[int, Any] = {}

    def forget(self) -> None:
        """A new batch begins."""
        self._hiddens.clear()

    def of(self, idx: int) -> Any:
        """What the last split returned as hiddens, None in the first."""
        return self._hiddens.get(idx)

    def keep(self, idx: int, output: Any) -> None:
        """Keep the hiddens of a step's output without their graph."""
        if isinstance(output, Mapping) and "hiddens" in output:
            self._hiddens[idx] = detached(output["hiddens"])


def fitted_forward(
    run: Run, forward: Callable[..., Any], memory: Memory | None = None
) -> Callable[..., Any]:
    """`forward` with the arguments that `training_step` takes, with autocast, with the hiddens of
    the split before, and with `training_step_end`: what of that is wanted, in one function.
    """
    takes_index, by_place = _arguments(run, memory is not None)
    if not run.module.automatic_optimization and requires(run.module.training_step, _INDEX):
        forward = partial(forward, optimizer_idx=0)  # as before 1.5, where nobody looks at it
    step_end = run.hooks.own("training_step_end")
    context = run.precision.context if run.precision.has_context else None
    if takes_index and not by_place and step_end is None and context is None and memory is None:
        return forward
    logged = run.logged

    def step(*args: Any, **kwargs: Any) -> Any:
        if not takes_index:
            args = args[:1]
        idx = kwargs.get("optimizer_idx", 0)
        if memory is not None:
            kwargs["hiddens"] = memory.of(idx)
        if by_place:
            args, kwargs = (*args, *(kwargs[name] for name in by_place)), {}
        if context is None:
            output = forward(*args, **kwargs)
        else:
            with context():
                output = forward(*args, **kwargs)
        if memory is not None:
            memory.keep(idx, output)
        if step_end is not None:
            logged.hook = "training_step_end"
            output = step_end(output)
        return output

    return step


def _arguments(run: Run, in_splits: bool) -> tuple[bool, tuple[str, ...]]:
    """Whether `training_step` takes the batch's index, and which arguments go by their place since
    it has names of its own for them; raises where it lacks one.
    """
    method, count = run.module.training_step, len(run.optimization.optimizers)
    is_one_of_several = count > 1 and run.module.automatic_optimization
    wanted = ((_INDEX,) if is_one_of_several else ()) + (("hiddens",) if in_splits else ())
    if _have_places(method, wanted):
        return True, wanted
    if is_one_of_several and not takes(method, _INDEX, or_any=True):
        raise MisconfigurationException(
            f"configure_optimizers returned {count} optimizers, so training_step needs another "
            "argument, `optimizer_idx`, which says whose loss to return; or set "
            "`self.automatic_optimization = False` and step them by hand"
        )
    if in_splits and not takes(method, "hiddens", or_any=True):
        raise MisconfigurationException(
            "truncated_bptt_steps is set, so training_step needs another argument, `hiddens`: what "
            "the step returned as 'hiddens' for the part of the batch before, None for the first"
        )
    by_keyword = sum(takes(method, name) for name in (_INDEX, "hiddens"))
    takes_index = takes(method, "batch_idx") or accepted(method, 2 + by_keyword) == 2 + by_keyword
    return takes_index, ()


def _have_places(method: Callable[..., Any], wanted: tuple[str, ...]) -> bool:
    """Whether all that is wanted has its usual place after batch and index, some of it by a name
    of the user's own, for which there is no default.
    """
    if not wanted:
        return False
    parameters = list(inspect.signature(method).parameters.values())[2:]
    known = {parameter.name for parameter in parameters}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if known >= set(wanted) or len(parameters) != len(wanted):
        return False
    return all(
        parameter.kind in kinds
        and (parameter.name == name or parameter.name not in (_INDEX, "hiddens"))
        and (parameter.name == name or parameter.default is parameter.empty)
        for name, parameter in zip(wanted, parameters, strict=True)
    )
