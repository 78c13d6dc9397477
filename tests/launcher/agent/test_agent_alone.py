"""The real agent on a node in memory: its whole loop with a clock, pipes and processes of ours."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.agent import agent
from launcher.agent.forkserver.client import SERVER
from launcher.agent.system import System
from tests.launcher.support.fake_node import FakeNode, Process

SOURCES = {name: "" for name in (*SERVER, "launcher.agent.rendezvous.door")}
CONFIG: dict[str, Any] = {
    "job_id": "j", "python": "python3", "workdir": "/w", "kind": "program", "target": "train",
    "args": ["fast"], "pickled": "", "compat": None, "keys": None, "tether": None,
    "silence_s": 10.0, "soft_limit": None,
}  # fmt: skip


def run_on(node: FakeNode, **changes: Any) -> int:
    """The agent's whole life on a node; returns its exit code."""
    started: Any = SimpleNamespace(
        server=None, cold=True, notes=[], problem=None, env={"A": "1"}, cwd="/w", mark="MARK"
    )
    guard = node.pipe()[0], node.pipe()[1]
    return agent.run({**CONFIG, **changes}, SOURCES, guard, "/run", started, node)


def start_of(num_ranks: int, attempt: int = 1) -> dict[str, Any]:
    ranks = [{"rank": n, "local_rank": n, "env": {"RANK": str(n)}} for n in range(num_ranks)]
    order = {"type": "start", "attempt": attempt, "world_size": num_ranks}
    return {**order, "ranks": ranks, "defaults": {"OMP_NUM_THREADS": "1"}}


def test_all_of_a_node_is_replaced() -> None:
    """What the agent does to its machine goes through the System, of which nothing is left."""
    names = {name for name in vars(System) if not name.startswith("_")}
    assert names <= set(vars(FakeNode))


def test_an_attempt_from_start_to_stop() -> None:
    """A rank fails, the other has its grace and is killed; then the next attempt, and the end."""
    ranks: list[Process] = []

    def on_spawn(process: Process) -> None:
        ranks.append(process)
        if len(ranks) == 1:
            node.at(2.0, lambda: (process.print("oh no\n", 2), process.exit(3 << 8)))
        elif len(ranks) == 2:
            process.on_sigterm = lambda: process.print("not yet\n")  # and it goes on
        else:
            node.at(13.0, lambda: process.exit(0))

    node = FakeNode(on_spawn)
    node.order(1.0, start_of(2))
    node.order(2.5, {"type": "stop", "grace_s": 5.0})
    node.order(9.0, start_of(1, attempt=2))
    node.order(14.0, {"type": "end"})
    before = time.monotonic()

    assert run_on(node) == 0
    assert time.monotonic() - before < 30  # of the test's; 14 s have passed in the agent's world
    assert [process.env["RANK"] for process in ranks] == ["0", "1", "0"]
    assert ranks[0].env["OMP_NUM_THREADS"] == "1"
    assert ranks[0].argv == ["train", "fast"]
    exits = [(at, m["rank"], m["status"], m["killed"]) for at, m in node.heard("exit")]
    assert exits[0] == (2.0, 0, 3, False)
    assert exits[1][1:] == (1, -9, True)
    assert 7.5 <= exits[1][0] <= 7.7  # the grace after the stop, and a check of the ranks
    assert exits[2] == (13.0, 0, 0, False)
    assert [m["attempt"] for _, m in node.heard("stopped")] == [1, 2]
    assert [(m["rank"], m["err"], m["text"]) for _, m in node.heard("raw")] == [
        (0, True, "oh no\n"),
        (1, False, "not yet\n"),
    ]
    assert node.paths == set()  # the mark of a failed attempt is gone with it
    assert not any(process.is_alive for process in ranks)


@pytest.mark.parametrize("how", ["silent", "gone"])
def test_without_a_controller_nothing_is_left(how: str) -> None:
    """Silent for too long, or its stream closed: the ranks are ended, and the agent."""
    ranks: list[Process] = []
    node = FakeNode(ranks.append)
    node.order(1.0, start_of(2))
    if how == "gone":
        node.hang_up(3.0)

    assert run_on(node) == (1 if how == "silent" else 0)
    assert node.now - 100 == pytest.approx(11.5 if how == "silent" else 3.0, abs=0.6)
    assert len(ranks) == 2
    assert not any(process.is_alive for process in ranks)
    told = [at for at, _ in node.told]
    assert max(later - at for at, later in itertools.pairwise(told)) <= 1.5
