"""All ranks end an epoch after the same step, or it is said which did not.

Ranks wait for each other in every step. One that ends an epoch by itself, since its loader has no
more or since `should_stop` was set there alone, would leave the others waiting for ever, and nobody
would know why. So whoever ends an epoch that others might not says so in the store of the process
group, and waits for them to say the same: once an epoch, and never in a step.
"""

from __future__ import annotations

import itertools
import time

from engine.loops.state import Progress
from engine.runtime.distributed.world import World
from engine.runtime.torch_internals.torch_parts import default_store

# Ranks make these together, so the numbers are the same everywhere.
_numbers = itertools.count()
PATIENCE_S = 300.0  # a slow loader looks for its end, too
_LOOK_EVERY_S = 0.005


class Together:
    """One fit's ends of epochs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._prefix = f"engine/end/{next(_numbers)}"
        self._told = ""  # the key of the last end

    def look(self, progress: Progress, has_no_more: bool, stops: bool) -> None:
        """Where this rank ends the epoch by itself, wait until every rank does; raises if not."""
        key = f"{self._prefix}/{progress.epoch}"
        if not (has_no_more or stops) or self._told == key:
            return
        store, ranks = default_store(), range(self._world.world_size)
        store.set(f"{key}/{self._world.rank}", "")
        give_up = time.monotonic() + PATIENCE_S
        while not store.check([f"{key}/{rank}" for rank in ranks]):
            if time.monotonic() > give_up:
                left = [rank for rank in ranks if not store.check([f"{key}/{rank}"])]
                why = "its loader has no more batches" if has_no_more else "should_stop is set"
                raise RuntimeError(_text(self._world.rank, progress, why, left))
            time.sleep(_LOOK_EVERY_S)
        if self._told:  # all have read it, since they have come to this one
            store.delete_key(f"{self._told}/{self._world.rank}")
        self._told = key


def _text(rank: int, progress: Progress, why: str, left: list[int]) -> str:
    return (
        f"rank {rank} ends epoch {progress.epoch} after step {progress.step} because {why}, and "
        f"ranks {left} go on. Ranks train together: give all of them equally many batches "
        "(limit_train_batches=n cuts the longer ones), and set should_stop on all of them "
        "(trainer.strategy.reduce_boolean_decision(stop, all=False) agrees on it)"
    )
