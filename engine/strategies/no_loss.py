"""What a rank does whose training step returned None while others have a loss.

Their gradients are averaged by a collective that waits for every rank, so a rank without a loss
takes part with gradients of zero. Where no rank had one there must be no step: a rank without any
says so in the store of the process group before it takes part, and reads afterwards how many have.
Ranks with a loss know without asking that there is a step, so a normal step costs nothing.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch

from engine.runtime.coordination import store as stores
from engine.runtime.coordination.store import SharedStore
from engine.runtime.distributed.world import World

# Ranks make these together, so the numbers are the same everywhere.
_numbers = itertools.count()
# How long a rank without a loss waits for the others where it can't take part without one.
PATIENCE_S = 30.0


class _NoLoss(torch.autograd.Function):
    """A zero whose gradients for all parameters are zero, whatever their values are."""

    @staticmethod
    def forward(ctx: Any, *parameters: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*parameters)
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: object) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)


def no_loss(module: torch.nn.Module) -> torch.Tensor:
    """The loss of a step that returned None, in the place of one."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    zero: torch.Tensor = _NoLoss.apply(*parameters)  # type: ignore[no-untyped-call]  # torch
    return zero


class NoLossCount:
    """Counts the ranks without a loss in a step, in one fit."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = SharedStore(f"no_loss/{next(_numbers)}")
        self._declared: list[int] = []  # the steps that this rank had no loss in

    def declare(self, step: int) -> None:
        """Say that this rank has no loss in this step."""
        self._declared.append(step)
        self._store.add(str(step), 1)

    def is_everyone(self) -> bool:
        """Whether no rank had a loss in the last step declared, once all have taken part in it."""
        while len(self._declared) > 2:  # a rank that declared a later step has read this one
            self._store.delete(str(self._declared.pop(0)))
        return self._store.add(str(self._declared[-1]), 0) >= self._world.world_size

    def require_everyone(self, step: int) -> None:
        """Wait until all ranks have declared this step; raises RuntimeError if some never do."""
        self.declare(step)
        give_up = time.monotonic() + PATIENCE_S
        while not self.is_everyone():
            if time.monotonic() > give_up:
                raise RuntimeError(
                    f"training_step returned None on rank {self._world.rank} and not on all others "
                    f"({PATIENCE_S:.0f} s have passed): with this strategy they can't go on "
                    "without it. Return a loss on every rank, such as 0 times the sum of an "
                    "output, or None on all of them"
                )
            time.sleep(stores.POLL_EVERY_S)
