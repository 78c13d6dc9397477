"""Before the start: which ranks run where, what they are told, what keeps a node out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launcher.controller.placing.placement import place, ranks_per_node, wanted_nodes
from launcher.controller.placing.preflight import (
    Facts,
    gather,
    master_addresses,
    problems,
    warnings,
)
from launcher.controller.rendezvous import Rendezvous, default_env, rank_env
from launcher.core.errors import PlacementError
from launcher.core.job import Job, Node, Placement, Program

NODES = tuple(Node(f"h{number}", f"10.0.0.{number}") for number in (1, 2, 3))
SCRIPT = Program("script", "t.py")


@pytest.mark.parametrize(
    ("gpus", "procs", "expected"),
    [(0, None, 1), (4, None, 4), (0, 3, 3), (2, 4, 4), (4, 4, 4), (4, 2, 2), (1, 1, 1)],
)
def test_ranks_of_a_node(gpus: int, procs: int | None, expected: int) -> None:
    """One a GPU, or one; as many as asked for, when GPUs can be shared evenly."""
    assert ranks_per_node(gpus, procs, "h") == expected


@pytest.mark.parametrize(("gpus", "procs"), [(2, 3), (3, 2), (4, 6)])
def test_ranks_that_do_not_divide(gpus: int, procs: int) -> None:
    """The error has the node and both numbers."""
    with pytest.raises(PlacementError, match=f"h: {procs} ranks can't share {gpus} GPUs"):
        ranks_per_node(gpus, procs, "h")


def test_ranks_count_on_from_node_to_node() -> None:
    """In the order of the nodes, rank 0 on the first, also when nodes differ."""
    places = place(NODES, {"h1": ("0",), "h3": ("0", "1")}, None, share_all=False)
    assert [(p.node.name, p.node_rank, p.first_rank, p.num_ranks) for p in places] == [
        ("h1", 0, 0, 1), ("h2", 1, 1, 1), ("h3", 2, 2, 2),
    ]  # fmt: skip
    shared = place(NODES[:1], {"h1": ("0", "1", "2")}, 2, share_all=True)
    assert (shared[0].num_ranks, shared[0].gpus) == (2, ("0", "1", "2"))


def test_wanted_nodes() -> None:
    """As many as may be, never fewer than must be."""
    job = Job("j", SCRIPT, run_dir="/run")
    assert wanted_nodes(job, NODES) == NODES
    assert wanted_nodes(replace(job, nodes=(1, 2)), NODES) == NODES[:2]
    assert wanted_nodes(replace(job, nodes=(2, 9)), NODES) == NODES
    with pytest.raises(PlacementError, match="asked for 4 nodes, but the cluster has 3"):
        wanted_nodes(replace(job, nodes=(4, 4)), NODES)


def test_what_a_rank_is_told() -> None:
    """Rank 3 of 4 on the second node, in its second attempt."""
    meeting = Rendezvous("10.0.0.1", 1234, 2, 4, 2, "j", "/run", 5)
    env = rank_env(meeting, Placement(NODES[1], 1, 2, 2, ("6", "7")), 1)
    assert {name: env[name] for name in env if name in EXPECTED} == EXPECTED


EXPECTED = {
    "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2", "ROLE_RANK": "3", "ROLE_WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "1234", "TORCHELASTIC_RESTART_COUNT": "1", "TORCHELASTIC_MAX_RESTARTS": "5",
    "TORCHELASTIC_RUN_ID": "j", "CUDA_VISIBLE_DEVICES": "6,7", "PLAUNCH_RUN_DIR": "/run",
}  # fmt: skip


def test_what_yields_to_the_user() -> None:
    """Threads by cores and ranks, at least one; the interface by which the nodes meet."""
    place = Placement(NODES[0], 0, 0, 4)
    env = default_env(place, 10, "eth0")
    assert (env["OMP_NUM_THREADS"], env["GLOO_SOCKET_IFNAME"]) == ("2", "eth0")
    assert env["NCCL_SOCKET_IFNAME"].startswith("^lo,docker")
    assert default_env(place, 2, "lo")["OMP_NUM_THREADS"] == "1"
    assert "NCCL_SOCKET_IFNAME" not in default_env(place, 2, "lo")
    assert "GLOO_SOCKET_IFNAME" not in default_env(place, 2, None)


def facts(name: str = "h1", **changes: Any) -> Facts:
    values: dict[str, Any] = {
        "node": Node(name, "10.0.0.1"), "cores": 8, "addresses": {"eth0": ["10.0.0.1"]},
        "reached_at": [], "python": "3.11.7", "torch": "2.13.0", "free_disk": 1 << 40,
        "clock_skew_s": 0.0, "clock_uncertainty_s": 0.0, "shared": True, "user": "u",
    }  # fmt: skip
    return Facts(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start_problem": "no such file"}, "python can't start: no such file"),
        ({"torch": None}, "no torch for python3"),
        ({"workdir_there": False}, "no folder"),
        ({"program_problem": "script not found: /x/t.py"}, "script not found: /x/t.py"),
    ],
)
def test_problems_of_a_node(changes: dict[str, Any], said: str) -> None:
    """Each names the node, what is wrong, and what to do."""
    (error,) = problems([facts(), facts("h2", **changes)], SCRIPT)
    assert error.node == "h2"
    assert said in error.problem
    assert error.advice


def test_all_problems_come_at_once() -> None:
    """Every node's, and more than one of a node."""
    bad = [facts("a", torch=None, workdir_there=False), facts("b", start_problem="gone")]
    assert [error.node for error in problems(bad, SCRIPT)] == ["a", "a", "b"]


def test_versions_must_agree() -> None:
    """The odd one out is named for torch, and for python up to its minor version."""
    usual, patch = facts("a"), facts("b", python="3.11.2")
    assert problems([usual, patch], SCRIPT) == []
    found = problems([usual, patch, facts("c", torch="2.9.0", python="3.12.1")], SCRIPT)
    assert [(error.node, error.problem) for error in found] == [
        ("c", "torch 2.9.0, but most nodes have 2.13.0"),
        ("c", "python 3.12, but most nodes have 3.11"),
    ]


def test_a_program_needs_no_torch() -> None:
    """With --no-python neither torch nor its version matters."""
    program = Program("program", "bash")
    assert problems([facts("a", torch=None), facts("b", torch="1.0")], program) == []


def test_warnings() -> None:
    """A clock that is surely off, a disk that is almost full, a folder that is not shared."""
    assert warnings([facts()], shared=True) == []
    bad = [facts(), facts("h2", clock_skew_s=-60.2, free_disk=3 << 20, shared=False)]
    found = warnings(bad, shared=True)
    assert found[0] == "h2: its clock is -60 s off ours"
    assert "only 3 MiB free" in found[1]
    assert "not shared with h2" in found[2]
    assert warnings(bad, shared=False) == found[:2]
    slow = facts("h2", clock_skew_s=-60.2, clock_uncertainty_s=60.0)
    assert warnings([facts(), slow], shared=True) == []


def test_addresses_to_meet_at() -> None:
    """The one that is known to reach the node first, never loopback or a container bridge."""
    addresses = {
        "lo": ["127.0.0.1"], "docker0": ["172.17.0.1"], "eth0": ["10.0.0.1"], "ib0": ["10.1.0.1"],
    }  # fmt: skip
    first = facts(addresses=addresses, reached_at=["10.1.0.1"])
    assert master_addresses(first, 2) == ["10.1.0.1", "10.0.0.1"]
    assert master_addresses(replace(first, reached_at=["172.17.0.1"]), 2)[0] == "10.0.0.1"
    assert master_addresses(first, 1) == ["127.0.0.1"]


def test_facts_from_an_agents_words() -> None:
    """What an agent sends about this very machine becomes facts; its clock is compared."""
    from launcher.agent.node.probe import facts as look

    order = {
        "workdir": "/", "kind": "script", "target": "no.py", "run_dir": "/", "job_id": "j",
        "files": None,
    }  # fmt: skip
    probe = {**look(order), "time": 105.0, "asked_at": 99.0, "heard_at": 101.0}
    found = gather(NODES[0], probe, {"torch": "2.13.0", "python": "3.11.7"})
    assert (found.clock_skew_s, found.clock_uncertainty_s) == (5.0, 1.0)
    assert found.program_problem == "script not found: /no.py"
    assert found.cores >= 1
    assert not found.shared
