"""How a learning rate goes from one value to another: pure."""

from __future__ import annotations

import math

from engine.runtime.errors import MisconfigurationException

STRATEGIES = ("cos", "linear")


def annealed(strategy: str, start: float, end: float, done: int, epochs: int) -> float:
    """The value after `done` of `epochs` on the way from `start` to `end`."""
    share = min(1.0, done / epochs) if epochs else 1.0
    if strategy == "cos":
        share = (1.0 - math.cos(math.pi * share)) / 2.0
    return start + (end - start) * share


def checked_strategy(strategy: str) -> str:
    """The name of a strategy; raises where there is none of that name."""
    if strategy not in STRATEGIES:
        raise MisconfigurationException(
            f"annealing_strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}"
        )
    return strategy
