"""All ranks end an epoch after the same step, or an error names those that did not.

Ranks wait for each other in every step. One that ends an epoch by itself, since its loader has no
more or since `should_stop` was set there alone, would leave the others waiting forever, and nobody
would know why. So whoever ends an epoch that others might not says so in the store of the process
group, and waits for them to say the same: once an epoch, and never in a step.
"""

from __future__ import annotations

import itertools

from engine.runtime.coordination.store import SharedStore
from engine.runtime.distributed.world import World

# Ranks make these together, so the numbers are the same everywhere.
_numbers = itertools.count()
PATIENCE_S = 300.0  # a slow loader looks for its end, too


class EpochEndBarrier:
    """The ends of one fit's epochs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = SharedStore(f"end/{next(_numbers)}")
        self._ended: int | None = None  # the last epoch that ended here

    def wait_for_all(self, epoch: int, step: int, has_no_more: bool, stops: bool) -> None:
        """Where this rank ends the epoch by itself, wait until every rank does.

        Args:
            epoch: the index of the epoch.
            step: the number of optimizer steps so far.
            has_no_more: whether this rank's loader has no more batches.
            stops: whether `should_stop` is set here.

        Raises:
            RuntimeError: some ranks go on; the message names them.
        """
        if not (has_no_more or stops) or self._ended == epoch:
            return
        rank, ranks = self._world.rank, range(self._world.world_size)
        self._store.set(f"{epoch}/{rank}")
        if not self._store.wait_for([f"{epoch}/{one}" for one in ranks], PATIENCE_S):
            going_on = [one for one in ranks if not self._store.has(f"{epoch}/{one}")]
            why = "its loader has no more batches" if has_no_more else "should_stop is set"
            raise RuntimeError(
                f"rank {rank} ends epoch {epoch} after step {step} because {why}, and "
                f"ranks {going_on} go on. Ranks train together: give all of them equally many "
                "batches (limit_train_batches=n cuts the longer ones), and set should_stop on all "
                "of them (trainer.strategy.reduce_boolean_decision(stop, all=False) agrees on it)"
            )
        if self._ended is not None:  # all have read it, since they have come to this one
            self._store.delete(f"{self._ended}/{rank}")
        self._ended = epoch
