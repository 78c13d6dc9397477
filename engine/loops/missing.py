"""Batches that are none: a loader's `collate_fn` returned None."""

from __future__ import annotations

import functools

from engine.distributed import rank_zero_warn


@functools.cache
def say_missing(kind: str) -> None:
    """Once a process for each kind of loader."""
    rank_zero_warn(
        f"the {kind} loader gave None in the place of a batch: it is skipped (said once). Where "
        "its collate_fn does that on purpose, all is well"
    )
