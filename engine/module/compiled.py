"""A module that `torch.compile` has wrapped: trained as itself, with its steps compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from engine.runtime.torch_internals.torch_parts import COMPILED_PREFIX as PREFIX
from engine.runtime.torch_internals.torch_parts import compiler_of, without_compiler

STEPS = ("training_step", "validation_step", "test_step", "predict_step")


@contextmanager
def with_compiled_steps(model: Any) -> Iterator[Any]:
    """The module itself; what `torch.compile(module)` gives compiles its steps meanwhile.

    Its wrapper compiles only calls of the module, which its steps do not go through, and it has a
    state of its own: hooks, `self.log` and checkpoints belong to the module within.
    """
    module = without_compiler(model)
    if module is model:
        yield model
        return
    compiled = compiler_of(model, torch.compile)  # with the options that were given
    names = [n for n in STEPS if callable(getattr(module, n, None)) and n not in vars(module)]
    for name in names:
        vars(module)[name] = compiled(getattr(module, name))
    try:
        yield module
    finally:
        for name in names:
            del vars(module)[name]


def named_for(module: torch.nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights by the names that they have in the module.

    torch puts a prefix before those of a part that is compiled (`self.net = torch.compile(net)`):
    weights that were saved with it are the same weights without, and the other way round.
    """
    has_part = any(without_compiler(layer) is not layer for layer in module.modules())
    if not has_part and not any(PREFIX in name for name in state):
        return state
    own = {name.replace(PREFIX, ""): name for name in module.state_dict()}
    return {own.get(name.replace(PREFIX, ""), name): value for name, value in state.items()}
