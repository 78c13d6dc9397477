"""The batches of a loop: which is the last, and what is said of a loader that promised more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from engine.loops.state import State
from engine.runtime.data.lengths import drawn_length, is_exact
from engine.runtime.data.samplers import length
from engine.runtime.distributed.world import rank_zero_warn

_COUNTS = {
    "validation": "num_val_batches",
    "test": "num_test_batches",
    "predict": "num_predict_batches",
}


def numbered(
    iterator: Iterator[Any],
    loader: Any,
    start: int,
    skip: int,
    count: int | float,
    settle: Callable[[], None] | None = None,
) -> Iterator[tuple[int, Any, bool]]:
    """Batches of `loader` with their index and whether they are the epoch's last; `skip` are left
    out before. There are `count` at most.

    Where the number of batches is not known for certain, one is read ahead to see whether it is the
    last. `settle` is called when as many have been read as before the interruption.
    """
    for _ in range(skip):
        next(iterator, None)
    if is_exact(loader) and (count != float("inf") or drawn_length(loader) is not None):
        if settle is not None:
            settle()
        last = count - 1
        for batch_idx, batch in enumerate(iterator, start):
            if batch_idx == start and (drawn := drawn_length(loader)) is not None:
                last = min(count, drawn) - 1
            yield batch_idx, batch, batch_idx == last
            if batch_idx >= last:
                return
        return
    batch_idx, nothing = start, object()
    batch = next(iterator, nothing) if start < count else nothing
    if settle is not None:
        settle()
    while batch is not nothing:
        following = next(iterator, nothing) if batch_idx + 1 < count else nothing
        yield batch_idx, batch, following is nothing
        batch_idx, batch = batch_idx + 1, following


def note_length(
    state: State, verb: str, loader: Any, count: int | float, came: int, index: int = 0
) -> None:
    """Where `came` batches in the place of `count`, show that number from now on; where it is the
    loader's `len()` that promised more, say so once.
    """
    is_known = is_exact(loader) and drawn_length(loader) is None
    if is_known or came >= count or count == float("inf"):
        return
    if came and verb == "training":
        state.num_training_batches = came
    elif came and not state.sanity_checking:
        shown: list[int | float] = getattr(state, _COUNTS[verb])
        if index < len(shown):
            shown[index] = came
    promised = length(loader)
    if came < promised != float("inf") and (verb, index) not in state.said_short:
        state.said_short.add((verb, index))
        which = f"{verb} loader {index}" if index else f"{verb} loader"
        rank_zero_warn(
            f"the len() of the {which} promises {promised} batches, and {came} came: the epoch "
            "ends with its data, and what was due at its end is done there (said once)"
        )
