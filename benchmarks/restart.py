"""A rank dies: how soon is everything gone, and how soon is the next attempt at work?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.commands import (
    PROGRAMS,
    Command,
    all_marks,
    await_marks,
    folder,
    gone,
    marks,
    plaunch,
    torchrun,
)
from benchmarks.rows import BenchError, Row, Rows, alternate, below

SCRIPT = PROGRAMS / "die.py"
RANKS = 4
CULPRIT = 1
PEER_S = 30  # for torchrun's restart, which fails or hangs


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    yield lambda: [restart(repeats)]
    yield lambda: [end(repeats)]


def restart(repeats: int) -> Row:
    """From a rank's death to the first all-reduce of all ranks of the next attempt."""
    outcomes: list[str] = []

    def peer() -> float:
        argv = torchrun("--nproc-per-node", RANKS, "--max-restarts", 1, SCRIPT, CULPRIT)
        outcomes.append(_outcome(argv))
        return 0.0

    def ours() -> float:
        return _seconds_to_restart(plaunch("--procs", RANKS, "--max-restarts", 1, SCRIPT, CULPRIT))

    _, samples = alternate(repeats, peer, ours)
    row = Row(
        key="restart",
        what=f"a rank dies with `--max-restarts 1`, until the next attempt's first all-reduce, "
        f"{RANKS} ranks",
        target="less than 1 s",
        peer_name="torchrun",
        peer_text="; ".join(sorted(set(outcomes))),
        ours=samples,
    )
    return below(row, 1.0)


def _seconds_to_restart(argv: Sequence[str]) -> float:
    with folder() as where, Command(argv, where) as command:
        command.succeed()
        (death,) = all_marks(where, "dying", 1)
        reduced = all_marks(where, "reduced", RANKS, attempt=1)
        return max(one["time"] for one in reduced) - death["time"]


def _outcome(argv: Sequence[str]) -> str:
    """How the peer ends: it may well fail, or not end at all."""
    with folder() as where, Command(argv, where, deadline_s=PEER_S) as command:
        try:
            code = command.wait()
        except BenchError:
            return f"does not end within {PEER_S} s"
        reduced = marks(where, "reduced", attempt=1)
        if code != 0 or len(reduced) < RANKS:
            return f"fails (exit {code}; {len(reduced)} of {RANKS} ranks came that far)"
        (death,) = all_marks(where, "dying", 1)
        return f"{max(one['time'] for one in reduced) - death['time']:.2f} s"


def end(repeats: int) -> Row:
    """From a rank's death until no rank runs any more, on one node."""
    peer, ours = alternate(
        repeats,
        lambda: _seconds_to_end(torchrun("--nproc-per-node", RANKS, SCRIPT, CULPRIT)),
        lambda: _seconds_to_end(plaunch("--procs", RANKS, SCRIPT, CULPRIT)),
    )
    row = Row(
        key="end_local",
        what=f"a rank dies, until every rank is gone, {RANKS} ranks, one node",
        target="at most 1 s",
        peer_name="torchrun",
        peer=peer,
        ours=ours,
    )
    return below(row, 1.0)


def _seconds_to_end(argv: Sequence[str]) -> float:
    with folder() as where, Command(argv, where) as command:
        pids = [one["pid"] for one in await_marks(command, where, "reduced", RANKS)]
        last = gone(pids, command.give_up)
        (death,) = all_marks(where, "dying", 1)
        return last - death["time"]
