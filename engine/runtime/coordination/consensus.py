"""One step at which all ranks stop, agreed on without a collective.

Only ranks that were told to make room talk to each other, over the store by which the process group
found together: a normal step costs nothing. Signals come to the ranks at different times, and ranks
that train together wait for each other in every step, so nobody may simply stop:

* Rank zero, once told, proposes the next boundary between steps, trains on to it and waits there, a
  second at most. The step in between sets free whoever had begun it.
* Every other rank that was told looks at each boundary for a proposal. It answers with the boundary
  that it is at, goes on to the proposed one if that is ahead, and waits there for the decision.
* When all have answered, rank zero decides: all stop at the last boundary that any has reached. If
  not, it sets them free and tries again later, ever less often: a rank that waits for the others
  within a step can't hear a signal before that step is done.

So nobody ever waits for a rank that waits itself, and a signal that comes to some ranks only slows
the training a little until the others have it, too. Positions are batches done since the fit began:
the boundaries are the same on all ranks.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from engine.runtime.distributed.world import World
from engine.runtime.torch_internals.torch_parts import default_store

PATIENCE_S = 1.0  # of rank zero at the proposed boundary
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0  # between two proposals
LOOK_EVERY_S = 0.005
# Until rank zero gets to where the others wait: a step can be long, but it does not last for ever.
DEADLINE_S = 1800.0
GO_ON = "go on"


class Agreement:
    """This rank's part in finding the boundary to stop at, in one fit.

    `name` must be the same on all ranks, and another one for each fit and start of a program.
    """

    def __init__(self, world: World, name: str, store: Any = None) -> None:
        self._world = world
        self._name = name
        self._store = store  # None: that of the process group, once there is need of it
        self._round = 0
        self._target: int | None = None  # the proposed boundary that we wait at
        self._stop: int | None = None  # the boundary that was decided on
        self._due = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._told_at: float | None = None
        self._complained = False

    def stops_at(self, position: int) -> bool:
        """Whether this rank, which was told to make room, stops at this boundary."""
        if self._world.world_size == 1:
            return True
        if self._told_at is None:
            self._told_at = time.monotonic()
            self._store = _store_of_ours(self._store, self._name)
        if self._stop is None:
            if self._world.rank == 0:
                self._lead(position)
            else:
                self._follow(position)
        return self._stop is not None and position >= self._stop

    def _lead(self, position: int) -> None:
        if self._target is None:
            if time.monotonic() >= self._due:
                self._round += 1
                self._target = position + 1
                self._say("proposal", f"{self._round} {self._target}")
        elif position >= self._target:
            answers = self._answers()
            self._target = None
            if answers is not None:
                self._stop = max([position, *answers])
                self._say(f"decision/{self._round}", str(self._stop))
                return
            self._say(f"decision/{self._round}", GO_ON)
            self._due = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._complain("not all ranks have been told to make room")

    def _answers(self) -> list[int] | None:
        """The boundaries that the others are at, if all of them answer in time."""
        keys = [self._answer_of(rank) for rank in range(1, self._world.world_size)]
        if not self._wait_for(keys, PATIENCE_S):
            return None
        return [int(self._store.get(key)) for key in keys]

    def _follow(self, position: int) -> None:
        if not self._store.check(["proposal"]):
            self._complain("rank 0 has not been told to make room")
            return
        number, target = map(int, self._store.get("proposal").split())
        if number != self._round:  # a new one: the old one was given up
            self._round, self._target = number, target
            self._say(self._answer_of(self._world.rank), str(position))
        if self._target is not None and position >= self._target:
            self._target = None
            decision = self._decision()
            self._stop = None if decision == GO_ON else int(decision)

    def _decision(self) -> str:
        key = f"decision/{self._round}"
        if not self._wait_for([key], DEADLINE_S):
            raise RuntimeError(
                f"rank {self._world.rank} was told to make room and has waited {DEADLINE_S:.0f} s "
                "for rank 0, which proposed to stop here and did not come: look at what rank 0 does"
            )
        return str(self._store.get(key).decode())

    def _answer_of(self, rank: int) -> str:
        return f"answer/{self._round}/{rank}"

    def _say(self, key: str, value: str) -> None:
        self._store.set(key, value)
        self._store.check([key])  # asked on the same line: from here on everyone can see it

    def _wait_for(self, keys: list[str], patience_s: float) -> bool:
        give_up = time.monotonic() + patience_s
        while not self._store.check(keys):
            if time.monotonic() > give_up:
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def _complain(self, problem: str) -> None:
        assert self._told_at is not None
        if not self._complained and time.monotonic() - self._told_at > LONGEST_PAUSE_S:
            self._complained = True
            sys.stderr.write(
                f"engine: rank {self._world.rank} has, but {problem}: training goes on until then\n"
            )


def _store_of_ours(store: Any, name: str) -> Any:
    """The store, by default that of the process group, with all keys below a name of ours."""
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # torch exports it

    return PrefixStore(f"engine/preemption/{name}", store or default_store())
