"""Batches that are none, or have no loss: a `collate_fn` or a training step returned None."""

from __future__ import annotations

import functools

from engine.runtime.distributed.world import gather_all, rank_zero_info, rank_zero_warn


@functools.cache
def say_missing(kind: str) -> None:
    """Once a process for each kind of loader."""
    rank_zero_warn(
        f"the {kind} loader gave None in the place of a batch: it is skipped (said once). Where "
        "its collate_fn does that on purpose, all is well"
    )


def say_skipped(count: int) -> None:
    """How often training steps have returned None, on all ranks, in one line at a fit's end."""
    counts = gather_all(count)
    if sum(counts):
        ranks = f" (on the ranks from 0 on: {counts})" if len(counts) > 1 else ""
        rank_zero_info(
            f"engine: training_step returned None {sum(counts)} times in this fit{ranks}: those "
            "batches were skipped"
        )
