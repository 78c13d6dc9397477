"""From the command to the first common act of all ranks, on one node."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.commands import PEERS, PROGRAMS, plaunch, seconds_to, torchrun
from benchmarks.rows import Row, Rows, alternate, faster

TARGETS = {16: 8.0, 2: 1.6}


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    for num_ranks, target in TARGETS.items():
        yield partial(first_all_reduce, repeats, num_ranks, target)
    yield partial(first_step, repeats)


def first_all_reduce(repeats: int, num_ranks: int, target: float) -> list[Row]:
    """torchrun and plaunch of the same environment start the same program."""
    script = PROGRAMS / "all_reduce.py"
    peer, ours = alternate(
        repeats,
        lambda: seconds_to(torchrun("--nproc-per-node", num_ranks, script), "reduced", num_ranks),
        lambda: seconds_to(plaunch("--procs", num_ranks, script), "reduced", num_ranks),
    )
    row = Row(
        key=f"all_reduce_{num_ranks}",
        what=f"command to first all-reduce of all ranks, {num_ranks} ranks, one node",
        target=f"ratio at least {target:g}",
        peer_name="torchrun",
        peer=peer,
        ours=ours,
    )
    return [faster(row, target)]


def first_step(repeats: int, num_ranks: int = 8) -> list[Row]:
    """Lightning under its environment's torchrun, engine under plaunch: the same model."""
    script = PROGRAMS / "first_step.py"
    lightning = ("--nproc-per-node", num_ranks, script, "lightning", num_ranks)
    ours = ("--procs", num_ranks, script, "engine", num_ranks)
    peer_s, our_s = alternate(
        repeats,
        lambda: seconds_to(torchrun(*lightning, env=PEERS), "stepped", num_ranks),
        lambda: seconds_to(plaunch(*ours), "stepped", num_ranks),
    )
    row = Row(
        key="first_step",
        what=f"command to first training step of all ranks, {num_ranks} ranks, DDP",
        target="ratio at least 10",
        peer_name="Lightning under torchrun",
        our_name="engine under plaunch",
        peer=peer_s,
        ours=our_s,
        note="the same MLP 32-32-2; logger and checkpoints off in both, all else at its default",
    )
    return [faster(row, 10.0)]
