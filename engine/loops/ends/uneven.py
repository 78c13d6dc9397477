"""Evaluation by ranks with unequal numbers of batches, where a step is a matter of all ranks.

A model that is divided among the ranks is gathered by collectives within each step. A rank that has
run out of batches takes part in the steps of the others: it runs a batch that it still has, or that
another rank gave it, and nothing is left of that afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from engine.loops.run import Run
from engine.runtime.distributed import world as distributed
from engine.runtime.seed import isolate_rng
from engine.runtime.torch_internals.torch_parts import PARTS_OF_MODULE

Batches = Iterator[tuple[int, Any]]
ToDevice = Callable[[Any, int], Any] | None
Step = Callable[[Any, int], Any]

_NOTHING, _ENDED, _GOES_ON = 0, 1, 2  # what a rank has: no batch ever, an old one, a new one


def in_step(
    run: Run, batches: Batches, to_device: ToDevice, dataloader_idx: int, step: Step
) -> Batches:
    """This rank's batches, not yet on the device; where the model is divided, all ranks step as
    often as any of them.
    """
    alone = run.strategy.holds_all or not distributed.is_connected()
    return batches if alone else _together(run, batches, to_device, dataloader_idx, step)


def _together(
    run: Run, batches: Batches, to_device: ToDevice, dataloader_idx: int, step: Step
) -> Batches:
    kept: tuple[int, Any] | None = None
    while True:
        mine = next(batches, None)
        kept = mine or kept
        state = _GOES_ON if mine is not None else _NOTHING if kept is None else _ENDED
        states = distributed.gather_all(state)
        if _GOES_ON not in states:
            return
        if _NOTHING in states:
            given = distributed.broadcast(mine, states.index(_GOES_ON))
            kept = kept or given
        if mine is not None:
            yield mine
        elif kept is not None:
            with unchanged(run.module):
                run.module.__dict__["log"] = _log_nothing
                batch_idx, batch = kept
                step(batch if to_device is None else to_device(batch, dataloader_idx), batch_idx)


def _log_nothing(*args: Any, **kwargs: Any) -> None:
    """In the place of `self.log`."""


@contextmanager
def unchanged(module: torch.nn.Module) -> Iterator[None]:
    """Whatever happens within, attributes and buffers of a module and of all in it, and the random
    state, are as before afterwards; what a list or a dict holds, too.
    """
    before = [(one, copied(one)) for one in module.modules()]
    try:
        with isolate_rng():
            yield
    finally:
        for one, attributes in before:
            restore(one, attributes)


def copied(module: torch.nn.Module) -> dict[str, tuple[Any, Any]]:
    """What `restore` needs: a module's own attributes, and what was in them.

    Not its parameters: they are the strategy's matter, which may gather them meanwhile.
    """
    attributes = vars(module).items()
    return {name: (one, _inside(one)) for name, one in attributes if name not in PARTS_OF_MODULE}


def restore(module: torch.nn.Module, before: dict[str, tuple[Any, Any]]) -> None:
    """Give a module its own attributes back, with what was in them."""
    for name in set(vars(module)) - {*before, *PARTS_OF_MODULE}:
        del module.__dict__[name]
    for name, (value, inside) in before.items():
        module.__dict__[name] = _refilled(value, inside)


def _inside(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return [(key, one, _inside(one)) for key, one in value.items()]
    if isinstance(value, (list, deque)):
        return [(one, _inside(one)) for one in value]
    return set(value) if isinstance(value, set) else None


def _refilled(value: Any, inside: Any) -> Any:
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            value.copy_(inside)
    elif isinstance(value, dict):
        value.clear()
        value.update({key: _refilled(one, within) for key, one, within in inside})
    elif isinstance(value, (list, deque)):
        items = [_refilled(one, within) for one, within in inside]
        value.clear()
        value.extend(items)
    elif isinstance(value, set):
        value.clear()
        value.update(inside)
    return value
