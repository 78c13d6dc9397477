"""Who failed first: culprits and victims in every order of their news."""

from __future__ import annotations

import itertools
import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.controller.verdict import LostNode, Record, broke_with_peer, exit_code, failed, judge
from launcher.core.job import Failure

GLOO = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer "
    "[127.0.0.1]:37538. This is typically caused by a remote worker crashing."
)


def error(kind: str, message: str, *chain: str) -> Failure:
    return Failure(kind, message, f"Traceback ...\n{kind}: {message}\n", chain)


CULPRITS = {
    "exception": Record(0, "n", 1, failure=error("ValueError", "bad batch")),
    "still hanging": Record(0, "n", failure=error("ValueError", "bad batch")),
    "killed while hanging": Record(0, "n", -9, killed=True, failure=error("KeyError", "'x'")),
    "exit": Record(0, "n", 3),
    "exit with words": Record(0, "n", 1, tail=("config is missing",)),
    "segfault": Record(0, "n", -signal.SIGSEGV),
    "kill -9": Record(0, "n", -9),
    "memory": Record(0, "n", -9, oom=True),
    "abort": Record(0, "n", -signal.SIGABRT, tail=("assertion failed",)),
    "could not start": Record(0, "n", 127, unstarted="no such program"),
    "its worker": Record(0, "n", 1, failure=error("RuntimeError", "DataLoader worker (pid 5) "
                                                  "is killed by signal: Killed.")),
}  # fmt: skip
VICTIMS = {
    "gloo": Record(0, "n", 1, failure=error("RuntimeError", GLOO)),
    "gloo, hanging": Record(0, "n", -9, killed=True, failure=error("RuntimeError", GLOO)),
    "store": Record(0, "n", 1, failure=error(
        "torch.distributed.DistNetworkError", "failed to recv, got 0 bytes")),
    "nccl": Record(0, "n", 1, failure=error(
        "torch.distributed.DistBackendError", "NCCL error in: x.cpp:1, remote process exited")),
    "by a cause": Record(0, "n", 1, failure=error(
        "TrainingFailed", "epoch 3", f"builtins.RuntimeError: {GLOO}")),
    "abort of gloo": Record(0, "n", -signal.SIGABRT, tail=("terminate called", "what(): " + GLOO)),
    "without a hook": Record(0, "n", 1, tail=("Traceback", f"RuntimeError: {GLOO}")),
    "killed by us": Record(0, "n", -9, killed=True),
    "done": Record(0, "n", 0),
    "nothing known": Record(0, "n"),
}  # fmt: skip


def in_order(kinds: list[Record], order: list[int]) -> list[Record]:
    """Ranks of these kinds whose first signs came in this order."""
    return [
        replace(record, rank=rank, node=f"n{rank}", order=order.index(rank) + 1)
        for rank, record in enumerate(kinds)
    ]


@pytest.mark.parametrize("name", CULPRITS)
def test_culprits_and_victims_are_told_apart(name: str) -> None:
    """Each culprit failed on its own account."""
    assert failed(CULPRITS[name])
    assert not broke_with_peer(CULPRITS[name])


@pytest.mark.parametrize("name", VICTIMS)
def test_each_culprit_is_named_before_each_victim(name: str) -> None:
    """With one victim of each kind, in both orders of arrival."""
    for culprit, order in itertools.product(CULPRITS.values(), ([0, 1], [1, 0])):
        verdict = judge(in_order([VICTIMS[name], culprit], order), [], 1)
        assert verdict is not None
        assert (verdict.rank, verdict.node) == (1, "n1")


@given(
    st.sampled_from(sorted(CULPRITS)),
    st.lists(st.sampled_from(sorted(VICTIMS)), max_size=6),
    st.data(),
)
def test_arrival_never_changes_the_culprit(
    culprit: str, victims: list[str], data: st.DataObject
) -> None:
    """Exactly one rank fails on its own account: it is named whatever came first."""
    at = data.draw(st.integers(0, len(victims)))
    kinds = [VICTIMS[name] for name in victims]
    kinds.insert(at, CULPRITS[culprit])
    order = data.draw(st.permutations(range(len(kinds))))
    verdict = judge(in_order(kinds, order), [], 4)
    assert verdict is not None
    assert (verdict.rank, verdict.attempt) == (at, 4)
    assert at not in verdict.victims
    assert set(verdict.victims) == {
        rank for rank, kind in enumerate(kinds) if rank != at and kind.status != 0
    }
    assert verdict.exit_code != 0


@pytest.mark.parametrize(
    ("culprit", "kind", "code", "name"),
    [
        ("exception", "exception", 1, None),
        ("killed while hanging", "exception", 1, None),
        ("exit", "exit", 3, None),
        ("segfault", "signal", 139, "SIGSEGV"),
        ("memory", "oom", 137, "SIGKILL"),
        ("could not start", "start", 127, None),
    ],
)
def test_kinds_and_codes(culprit: str, kind: str, code: int, name: str | None) -> None:
    """What it is called, the exit code that is passed on, the signal by name."""
    verdict = judge([CULPRITS[culprit]], [], 1)
    assert verdict is not None
    assert (verdict.kind, verdict.exit_code, verdict.signal) == (kind, code, name)


def test_of_two_culprits_the_first_sign_counts() -> None:
    """Both failed on their own account: the order of their news is all there is."""
    two = [CULPRITS["exit"], CULPRITS["exception"]]
    verdict = judge(in_order(two, [1, 0]), [], 1)
    assert verdict is not None
    assert (verdict.rank, verdict.victims) == (1, (0,))


@pytest.mark.parametrize("name", ["exception", "exit", "segfault", "could not start"])
def test_equal_errors_are_one(name: str) -> None:
    """Ranks that failed by themselves of the same are named together; they are no victims."""
    kinds = [CULPRITS[name], VICTIMS["gloo"], CULPRITS[name], CULPRITS["memory"], CULPRITS[name]]
    verdict = judge(in_order(kinds, [2, 1, 3, 0, 4]), [], 1)
    assert verdict is not None
    assert (verdict.rank, verdict.ranks, verdict.victims) == (2, (0, 2, 4), (1, 3))


def test_errors_that_differ_are_not_equal() -> None:
    """In type, message, code or signal; an exit is no exception."""
    other = error("ValueError", "another batch")
    for kind in ("exit", "segfault", "memory", "exit with words", "killed while hanging"):
        verdict = judge(in_order([CULPRITS["exception"], CULPRITS[kind]], [0, 1]), [], 1)
        assert verdict is not None
        assert verdict.ranks == (0,)
    verdict = judge(
        in_order([CULPRITS["exception"], Record(0, "n", 1, failure=other)], [0, 1]), [], 1
    )
    assert verdict is not None
    assert (verdict.ranks, verdict.victims) == ((0,), (1,))


def test_the_step_is_where_it_failed() -> None:
    """Not the last one that was reported, which is told as that."""
    told = replace(CULPRITS["exception"], step=12, failed_at=12)
    verdict = judge([told], [], 1)
    assert verdict is not None
    assert (verdict.step, verdict.last_step) == (12, 12)
    verdict = judge([replace(CULPRITS["kill -9"], step=7)], [], 1)
    assert verdict is not None
    assert (verdict.step, verdict.last_step) == (None, 7)


def test_a_kill_with_nearly_all_memory_used() -> None:
    """It is called a signal, since nobody has said more, with a word on the likely cause."""
    verdict = judge([replace(CULPRITS["kill -9"], memory="15.2 of 16.0 GiB")], [], 1)
    assert verdict is not None
    assert (verdict.kind, verdict.signal) == ("signal", "SIGKILL")
    assert verdict.message == "probably out of memory: 15.2 of 16.0 GiB were in use"


def test_nothing_failed() -> None:
    """Success, and ranks that we killed ourselves, are no failure."""
    assert judge([VICTIMS["done"], VICTIMS["killed by us"]], [], 1) is None


def test_only_victims() -> None:
    """A broken network: someone is named, with a word on the doubt."""
    verdict = judge(in_order([VICTIMS["gloo"], VICTIMS["store"]], [1, 0]), [], 1)
    assert verdict is not None
    assert verdict.rank == 1
    assert verdict.message == "no rank failed on its own account"


def test_a_connection_of_its_own_that_broke() -> None:
    """Refused by a database, say: likelier the cause than a collective that broke."""
    database = Record(0, "n", 1, failure=error("ConnectionRefusedError", "Connection refused"))
    for order in ([0, 1], [1, 0]):
        verdict = judge(in_order([VICTIMS["gloo"], database], order), [], 1)
        assert verdict is not None
        assert verdict.rank == 1


@pytest.mark.parametrize("lost_first", [True, False])
def test_lost_nodes(lost_first: bool) -> None:
    """A lost node is the cause of broken collectives, and of nothing that came before it."""
    lost = [LostNode("n1", "cut", 1 if lost_first else 9)]
    victims = in_order([VICTIMS["gloo"], VICTIMS["nothing known"]], [0, 1])
    verdict = judge([replace(record, order=5) for record in victims], lost, 1)
    assert verdict is not None
    assert (verdict.kind, verdict.node, verdict.rank) == ("lost_node", "n1", None)
    own = replace(CULPRITS["exit"], order=5)
    verdict = judge([own], lost, 1)
    assert verdict is not None
    assert verdict.kind == ("lost_node" if lost_first else "exit")


@given(st.integers(-64, 255) | st.none(), st.booleans())
def test_a_failed_job_never_ends_with_0(status: int | None, killed: bool) -> None:
    """Whatever the rank's own end was."""
    code = exit_code(Record(0, "n", status, killed=killed, failure=error("E", "")))
    assert 1 <= code <= 255
