"""Whether all ranks come to one place, found out before any of them waits there for the others.

A program may save a checkpoint on rank zero alone, while the others go on and then wait for it in
their next step: a collective would keep all of them for ever. So each rank that comes says so in
the store by which the process group found together, and looks for the others for a while. Who first
sees all of them, or gives up, says what holds for everyone; also for a rank that comes later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.runtime.distributed.world import World
from engine.runtime.torch_internals.torch_parts import default_store

PATIENCE_S = 30.0  # longer than ranks are apart that come to the same line of a program
LOOK_EVERY_S = 0.005
ALL, SOME = "all", "some"

_all_come = False  # see `everybody`
_calls: dict[str, int] = {}  # how many calls at a place are over, as far as this rank knows


@contextmanager
def everybody() -> Iterator[None]:
    """Within, all ranks are known to come: nobody has to be called."""
    global _all_come
    before, _all_come = _all_come, True
    try:
        yield
    finally:
        _all_come = before


def all_come(world: World, place: str, store: Any = None) -> bool:
    """Whether every rank calls this with the same `place`, soon; the same answer on all that do."""
    if _all_come:
        return True
    call = _calls.get(place, 0)
    here = _store_of(store, f"{place}/{call}")
    while here.check(["verdict"]):  # it is over, and was without us
        call += 1
        here = _store_of(store, f"{place}/{call}")
    _calls[place] = call + 1
    ranks = [str(rank) for rank in range(world.world_size)]
    here.set(str(world.rank), "here")
    give_up = time.monotonic() + PATIENCE_S
    while not here.check(ranks) and not here.check(["verdict"]):
        if time.monotonic() > give_up:
            break
        time.sleep(LOOK_EVERY_S)
    seen = ALL if here.check(ranks) else SOME
    return bool(here.compare_set("verdict", "", seen).decode() == ALL)  # the first one's counts


def _store_of(store: Any, name: str) -> Any:
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # torch exports it

    return PrefixStore(f"engine/rollcall/{name}", store or default_store())
