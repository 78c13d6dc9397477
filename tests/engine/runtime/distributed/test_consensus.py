"""Stopping at one step: ranks as threads with a real store, told at random moments."""

from __future__ import annotations

import random
import threading

import pytest
from torch.distributed import HashStore

from engine.runtime.coordination import consensus, store
from engine.runtime.coordination.consensus import StopConsensus
from engine.runtime.distributed.world import World

DEADLINE_S = 60
STEPS = 400


class Training:
    """Ranks that wait for each other in every step, or run ahead by a few, as on a GPU."""

    def __init__(self, ranks: int, ahead: int, steps: int) -> None:
        self.store = HashStore()
        self.told = [threading.Event() for _ in range(ranks)]
        self.done = [0] * ranks
        self.stops: list[int | None] = [None] * ranks
        self.ahead, self.steps = ahead, steps
        self.moved = threading.Condition()
        self.threads = [
            threading.Thread(target=self.train, args=(rank,), daemon=True) for rank in range(ranks)
        ]

    def train(self, rank: int) -> None:
        world = World(rank=rank, world_size=len(self.done))
        mine = StopConsensus(world, "0/0", self.store)
        for step in range(1, self.steps + 1):
            with self.moved:
                self.done[rank] = step
                self.moved.notify_all()
                # An all-reduce: the others must have begun the step that we end.
                self.moved.wait_for(lambda: min(self.done) >= step - self.ahead)  # noqa: B023 (it is called here only)
            if self.told[rank].is_set() and step < self.steps and mine.stops_at(step):
                self.stops[rank] = step
                return

    def run(self, tell: dict[int, int]) -> list[int | None]:
        """Train, and tell rank r once rank 0 has begun step tell[r]; where each stopped."""
        for thread in self.threads:
            thread.start()
        for rank, step in sorted(tell.items(), key=lambda item: item[1]):
            with self.moved:
                self.moved.wait_for(lambda: max(self.done) >= step, DEADLINE_S)  # noqa: B023 (it is called here only)
            self.told[rank].set()
        for thread in self.threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), (self.done, self.stops)
        return self.stops


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The waits of a test's ranks, whose steps take no time."""
    monkeypatch.setattr(consensus, "PATIENCE_S", 0.1)
    monkeypatch.setattr(consensus, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(consensus, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(store, "POLL_EVERY_S", 0.001)


@pytest.mark.parametrize("ranks", range(1, 9))
@pytest.mark.parametrize("ahead", [0, 7])
def test_all_stop_at_the_same_step(ranks, ahead):
    """Told in any order, steps apart: nobody hangs, and either all stop at one step or none."""
    draw = random.Random(ranks)
    for _ in range(5):
        tell = {rank: draw.randint(1, 60) for rank in range(ranks)}
        stops = Training(ranks, ahead, STEPS).run(tell)
        assert len(set(stops)) == 1, (tell, stops)
        if stops[0] is not None:
            assert stops[0] >= max(tell.values())


def test_told_at_once_they_stop_within_a_few_steps():
    """The first proposal is enough: two steps at most."""
    training = Training(4, 0, STEPS)
    for event in training.told:
        event.set()
    stops = training.run({})
    assert set(stops) in ({2}, {3})


@pytest.mark.parametrize("told", [[0], [1], [1, 2], [0, 2]])
def test_a_signal_that_comes_to_some_ranks_only_ends_nothing(told):
    """They train on to the end, none waits for ever; under a launcher all are told."""
    assert Training(3, 0, 60).run(dict.fromkeys(told, 5)) == [None] * 3


@pytest.mark.parametrize("steps", range(1, 6))
def test_told_at_the_very_end_the_fit_just_ends(steps):
    """Where the proposed boundary never comes there is nothing to wait for."""
    for last in range(1, steps + 1):
        stops = Training(3, 0, steps).run(dict.fromkeys(range(3), last))
        assert len(set(stops)) == 1
