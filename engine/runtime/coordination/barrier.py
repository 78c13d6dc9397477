"""Whether all ranks reach one point of a program, known before any of them waits there for good.

A program may save a checkpoint on rank zero alone, while the others go on and then wait for it in
their next step: a collective would block all of them forever. So each rank that arrives says so in
the store of the process group, and looks for the others for a while. The first rank that sees all
of them, or gives up, decides for everyone; also for a rank that arrives later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.runtime.coordination import store as stores
from engine.runtime.coordination.store import SharedStore
from engine.runtime.distributed.world import World

PATIENCE_S = 30.0  # longer than ranks are apart that come to the same line of a program
ALL, SOME = "all", "some"

_all_arrive = False  # see `all_ranks_known_to_arrive`
_calls: dict[str, int] = {}  # how many calls at a point are over, as far as this rank knows


@contextmanager
def all_ranks_known_to_arrive() -> Iterator[None]:
    """Within, all ranks are known to take part: `all_ranks_arrive` need not ask them."""
    global _all_arrive
    before, _all_arrive = _all_arrive, True
    try:
        yield
    finally:
        _all_arrive = before


def all_ranks_arrive(world: World, point: str, store: Any = None) -> bool:
    """Whether every rank calls this with the same `point`, soon; all that do get one answer."""
    if _all_arrive:
        return True
    call = _calls.get(point, 0)
    here = SharedStore(f"barrier/{point}/{call}", store)
    while here.has("verdict"):  # it is over, and was without us
        call += 1
        here = SharedStore(f"barrier/{point}/{call}", store)
    _calls[point] = call + 1
    ranks = [str(rank) for rank in range(world.world_size)]
    here.set(str(world.rank))
    give_up = time.monotonic() + PATIENCE_S
    while not here.has(*ranks) and not here.has("verdict") and time.monotonic() <= give_up:
        time.sleep(stores.POLL_EVERY_S)
    return here.set_first("verdict", ALL if here.has(*ranks) else SOME) == ALL
