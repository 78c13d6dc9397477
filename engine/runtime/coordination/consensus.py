"""One step at which all ranks stop, agreed on without a collective.

Only ranks that have received a preemption signal talk to each other, over the store of the process
group: a normal step costs nothing. Signals reach the ranks at different times, and ranks that train
together wait for each other in every step, so none may simply stop:

* Rank zero, once signalled, proposes the next boundary between steps, trains on to it and waits
  there, a second at most. The step in between releases every rank that had begun it.
* Every other signalled rank checks at each boundary for a proposal. It answers with the boundary
  that it is at, goes on to the proposed one if that is ahead, and waits there for the decision.
* When all have answered, rank zero decides: all stop at the last boundary that any has reached. If
  not, it releases them and tries again later, less and less often: a rank that waits for the others
  within a step can't handle a signal before that step is done.

So no rank ever waits for one that waits itself, and a signal that reaches only some ranks slows the
training a little until the others have received theirs. Positions are batches done since the fit
began: the boundaries are the same on all ranks.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from engine.runtime.coordination.store import SharedStore
from engine.runtime.distributed.world import World

PATIENCE_S = 1.0  # of rank zero at the proposed boundary
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0  # between two proposals
# Until rank zero gets to where the others wait: a step can be long, but it does not last for ever.
DEADLINE_S = 1800.0
GO_ON = "go on"


class StopConsensus:
    """This rank's part in finding the boundary to stop at, in one fit.

    `name` must be the same on all ranks, and another one for each fit and start of a program.
    """

    def __init__(self, world: World, name: str, store: Any = None) -> None:
        self._world = world
        self._store = SharedStore(f"preemption/{name}", store)
        self._round = 0
        self._target: int | None = None  # the proposed boundary that we wait at
        self._stop: int | None = None  # the boundary that was decided on
        self._due = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._signalled_at: float | None = None
        self._reported = False

    def stops_at(self, position: int) -> bool:
        """Whether this rank, which has received a preemption signal, stops at this boundary."""
        if self._world.world_size == 1:
            return True
        if self._signalled_at is None:
            self._signalled_at = time.monotonic()
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
                self._store.set("proposal", f"{self._round} {self._target}")
        elif position >= self._target:
            answers = self._answers()
            self._target = None
            if answers is not None:
                self._stop = max([position, *answers])
                self._store.set(f"decision/{self._round}", str(self._stop))
                return
            self._store.set(f"decision/{self._round}", GO_ON)
            self._due = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._report_once("not all ranks have")

    def _answers(self) -> list[int] | None:
        """The boundaries that the others are at, if all of them answer in time."""
        keys = [self._answer_of(rank) for rank in range(1, self._world.world_size)]
        if not self._store.wait_for(keys, PATIENCE_S):
            return None
        return [int(self._store.get(key)) for key in keys]

    def _follow(self, position: int) -> None:
        if not self._store.has("proposal"):
            self._report_once("rank 0 has not")
            return
        number, target = map(int, self._store.get("proposal").split())
        if number != self._round:  # a new one: the old one was given up
            self._round, self._target = number, target
            self._store.set(self._answer_of(self._world.rank), str(position))
        if self._target is not None and position >= self._target:
            self._target = None
            decision = self._decision()
            self._stop = None if decision == GO_ON else int(decision)

    def _decision(self) -> str:
        key = f"decision/{self._round}"
        if not self._store.wait_for([key], DEADLINE_S):
            raise RuntimeError(
                f"rank {self._world.rank} received a preemption signal and has waited "
                f"{DEADLINE_S:.0f} s for rank 0, which proposed to stop here and did not arrive: "
                "check what rank 0 does"
            )
        return self._store.get(key)

    def _answer_of(self, rank: int) -> str:
        return f"answer/{self._round}/{rank}"

    def _report_once(self, problem: str) -> None:
        assert self._signalled_at is not None
        if not self._reported and time.monotonic() - self._signalled_at > LONGEST_PAUSE_S:
            self._reported = True
            sys.stderr.write(
                f"engine: rank {self._world.rank} has received a preemption signal, but {problem}: "
                "training goes on until then\n"
            )
