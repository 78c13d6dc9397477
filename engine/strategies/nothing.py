"""What a rank does whose training step returned None while others have a loss.

Their gradients are averaged by a collective that waits for every rank, so a rank without a loss
takes part with gradients of zero. Where no rank had one there must be no step: a rank without any
says so in the store of the process group before it takes part, and reads afterwards how many have.
Ranks with a loss know without asking that there is a step, so a normal step costs nothing.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from engine.distributed import World

# Ranks make these together, so the numbers are the same everywhere.
_numbers = itertools.count()


class _NoLoss(torch.autograd.Function):
    """A zero whose gradients for all parameters are zero, whatever their values are."""

    @staticmethod
    def forward(ctx: Any, *parameters: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*parameters)
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)


def no_loss(module: torch.nn.Module) -> torch.Tensor:
    """The loss of a step that returned None, in the place of one."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    zero: torch.Tensor = _NoLoss.apply(*parameters)  # type: ignore[no-untyped-call]  # torch
    return zero


class Abstentions:
    """Counts the ranks that have nothing to give to a step, in one fit."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._prefix = f"engine/no_loss/{next(_numbers)}"
        self._told: list[str] = []

    def tell(self, step: int) -> None:
        """Say that this rank has nothing for this step."""
        self._told.append(f"{self._prefix}/{step}")
        self._store().add(self._told[-1], 1)

    def were_all(self) -> bool:
        """Whether all ranks had nothing, once all have taken part in the step."""
        store = self._store()
        *before, last = self._told
        for key in before:  # all have read it: they have taken part in a step since
            store.delete_key(key)
        self._told = [last]
        return bool(store.add(last, 0) >= self._world.world_size)

    def _store(self) -> Any:
        from torch.distributed.distributed_c10d import _get_default_store

        return _get_default_store()
