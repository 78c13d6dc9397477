"""The real controller over links in memory: whole attempts with a clock of ours and no process."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher.controller import attempts
from launcher.controller.agents.fleet import Fleet
from launcher.controller.agents.link import AgentMessages, Event, Inbox
from launcher.controller.system import System
from launcher.core.console.console import Output
from launcher.core.job import Job, Node, Program, Result
from launcher.core.protocol.frames import encode
from launcher.rundir.rundir import RunDir

NODES = (Node("a", "10.0.0.1"), Node("b", "10.0.0.2"))
PROBE = {
    "type": "probe", "hostname": "h", "cores": 4, "reached_at": [], "time": 5e8,
    "free_disk": None, "workdir": True, "program": None, "differs": [], "main": None,
    "shared": True, "driver": False, "user": "me",
}  # fmt: skip


class World(System):
    """A clock that jumps to the next thing that is to happen; work in the background is at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._future: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def unix_time(self) -> float:
        return 5e8

    def begin(self, work: Callable[[], None]) -> Any:
        work()
        return Ended()

    def in_parallel(self, work: Any, items: Sequence[Any], limit: int) -> list[Any]:
        return [work(item) for item in items]

    def stdin(self) -> int | None:
        return None

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._future, (self.now + seconds, next(self._numbers), action))

    def advance(self, until: float) -> bool:
        """Go on to the next thing and do it; False if there is none until then."""
        if not self._future or self._future[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action = heapq.heappop(self._future)
        action()
        return True


class Ended:
    """Work that is over."""

    def join(self, timeout: float | None = None) -> None:
        """It is."""

    def is_alive(self) -> bool:
        return False


class WorldInbox(Inbox):
    """An inbox whose waits are the world's."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def get(self, timeout_s: float) -> Event | int | None:
        until = self._world.now + max(timeout_s, 0.001)
        while self.empty and self._world.advance(until):
            pass
        return None if self.empty else super().get(0)


class FakeLink:
    """An agent, as far as its link shows it: it beats, and answers each order by ``orders``."""

    def __init__(self, node: Node, inbox: Inbox, world: World, play: Play) -> None:
        self.node, self._inbox, self._world, self._play = node, inbox, world, play
        self._heard, self.is_cut = world.now, False
        self.attempt = 0
        self._messages = AgentMessages(node.name, world, self)  # type: ignore[arg-type]

    def open(self, *_: Any) -> None:
        self.say({**PROBE, "addresses": {"eth0": [self.node.address]}})
        self.say({"type": "found", "python": "3.12.1", "problem": None})
        self._beat()

    def _beat(self) -> None:
        if not self.is_cut:
            self.say({"type": "beat"})
            self._world.after(1.0, self._beat)

    def say(self, message: dict[str, Any]) -> None:
        """As its agent would, bytes and all."""
        self._heard = self._world.now
        for event in self._messages.feed(encode(message)):
            self._inbox.put(event)

    def exit(self, rank: int, status: int, *, killed: bool = False) -> None:
        """The only rank of the node ends."""
        ends = {"killed": killed, "oom": False, "memory": "", "tail": [f"the end of {rank}"]}
        self.say({"type": "exit", "rank": rank, "status": status, **ends})
        self.say({"type": "stopped", "attempt": self.attempt, "swept": 0})

    def send(self, message: dict[str, Any]) -> None:
        if self.is_cut:
            return
        kind = message["type"]
        self._play.orders.append((round(self._world.now - 1000, 2), self.node.name, kind))
        if kind == "store":
            self.say({"type": "store", "port": 1234, "interface": "eth0", "problem": None})
        elif kind == "reach":
            answer = {"type": "reached", "problem": None, "interface": "eth0"}
            self.say({**answer, "address": self.node.address})
        elif kind == "start":
            self.attempt = message["attempt"]
        if kind in ("start", "stop", "kill"):
            self._play.act(self._world, self, message)

    def silent_for(self) -> float:
        return self._world.now - self._heard

    def give_grace(self) -> None:
        self._heard = self._world.now

    def close(self) -> None:
        self.is_cut = True

    def wait(self, timeout_s: float) -> int | None:
        return 0


class Play:
    """What agents do about their orders, written by a test; and what was ordered, and when."""

    def __init__(self, act: Callable[[World, FakeLink, dict[str, Any]], None]) -> None:
        self.act = act
        self.orders: list[tuple[float, str, str]] = []


class FakeCluster:
    """Two nodes that nothing has to be started for."""

    name, first_words_s, inherited_stdin = "fake", 1.0, None
    one_machine = in_slurm_job = False

    def prepare(self, nodes: Sequence[Node]) -> None:
        """They are there."""

    def replace(self, lost: Sequence[Node], stop: Any) -> tuple[Node, ...]:
        return tuple(lost)

    def close(self) -> None:
        """They stay."""


def run(folder: Path, play: Play, **options: Any) -> tuple[Result, str]:
    """A run of one rank on each node from start to end; what it said to people comes with it."""
    world = World()
    job = Job("j", Program("program", "train"), run_dir=str(folder / "run"), procs=1, **options)
    inbox, cluster = WorldInbox(world), FakeCluster()
    rundir = RunDir(job)
    with (folder / "out").open("w") as file:
        output = Output(file, file)

        def make_link(node: Node, inbox: Inbox, _: System) -> Any:
            return FakeLink(node, inbox, world, play)

        fleet = Fleet(job, cluster, inbox, output, world, make_link)  # type: ignore[arg-type]
        rundir.open()
        fleet.begin(NODES)
        result = attempts.run(job, NODES, fleet, rundir, output, world.now)
        fleet.close()
        rundir.finish(result)
        rundir.close()
    return result, (folder / "out").read_text()


def test_a_rank_fails_and_the_next_attempt_succeeds(tmp_path: Path) -> None:
    """Start, failure, the others' grace, the verdict, the restart and its end, all in no time."""

    def act(world: World, link: FakeLink, order: dict[str, Any]) -> None:
        rank = 0 if link.node.name == "a" else 1
        if order["type"] == "start" and link.attempt == 2:
            world.after(60.0, lambda: link.exit(rank, 0))
        elif order["type"] == "start" and rank == 1:
            world.after(20.0, lambda: link.exit(1, 3))
        elif order["type"] == "stop" and rank == 0:  # the other has none any more
            world.after(order["grace_s"], lambda: link.exit(0, -9, killed=True))

    play = Play(act)
    before = time.monotonic()
    result, text = run(tmp_path, play, max_restarts=1)

    assert time.monotonic() - before < 30
    assert (result.state, result.exit_code, result.attempts) == ("succeeded", 0, 2)
    assert result.seconds == pytest.approx(20 + 5 + 60, abs=1)
    (past,) = result.history
    assert (past.state, past.kind, past.rank, past.node) == ("failed", "exit", 1, "b")
    assert "the end of 1" in text
    assert "restart 1 of 1" in text
    assert play.orders == [
        (0.0, "a", "store"), (0.0, "b", "reach"), (0.0, "a", "start"), (0.0, "b", "start"),
        (20.0, "a", "stop"), (20.0, "b", "stop"),
        (25.0, "a", "store"), (25.0, "b", "reach"), (25.0, "a", "start"), (25.0, "b", "start"),
        (85.0, "a", "end"), (85.0, "b", "end"),
    ]  # fmt: skip


def test_a_node_that_falls_silent_is_lost(tmp_path: Path) -> None:
    """After ten seconds without a word; the other node's ranks are asked to end, then killed."""

    def act(world: World, link: FakeLink, order: dict[str, Any]) -> None:
        if order["type"] == "start" and link.node.name == "b":
            world.after(30.0, lambda: setattr(link, "is_cut", True))
        elif order["type"] == "kill":
            link.exit(0, -9, killed=True)

    play = Play(act)
    result, text = run(tmp_path, play, failure_grace_s=0.0)

    assert (result.state, result.exit_code) == ("failed", 1)
    assert result.verdict is not None
    assert (result.verdict.kind, result.verdict.node) == ("lost_node", "b")
    assert result.seconds == pytest.approx(40, abs=1.5)
    assert "b is lost: no word from it for 10 s" in text
    assert [(node, kind) for _, node, kind in play.orders[4:]] == [("a", "kill"), ("a", "end")]


def test_a_timeout_ends_ranks_that_hang(tmp_path: Path) -> None:
    """An hour passes in the world; agents that do not end their ranks are given up."""
    play = Play(lambda *_: None)
    result, text = run(tmp_path, play, timeout_s=3600.0)

    assert (result.state, result.exit_code) == ("failed", 124)
    assert result.seconds == pytest.approx(3600 + 5 + 15, abs=1.5)
    assert "its agent did not end its ranks within 15 s" in text
