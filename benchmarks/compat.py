"""Scripts of other engines, unchanged, train under ``plaunch``; a failure fails ``make bench``.

A cluster file names the peers' interpreter, so nothing of ours is installed in their environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.commands import PEERS, PROGRAMS, Command, all_marks, folder, plaunch
from benchmarks.rows import BenchError, Row, Rows

RANKS = 2
SCRIPTS = {"train_lightning.py": "Lightning 2.6", "train_accelerate.py": "Accelerate"}


def rows(repeats: int) -> Iterator[Rows]:
    """One row a script; raises BenchError where one does not train."""
    for script, name in SCRIPTS.items():
        yield partial(trains, script, name)


def trains(script: str, name: str) -> list[Row]:
    """It did, or a BenchError says why not."""
    losses = train(script)
    row = Row(
        key=script.removesuffix(".py"),
        what=f"a script of {name} trains on {RANKS} ranks under plaunch",
        target="it does",
        met=True,
        note=f"loss {losses[0]:.3f} to {losses[-1]:.3f}, the same weights on all ranks",
    )
    return [row]


def train(script: str) -> list[float]:
    """Run it; returns rank 0's loss epoch by epoch."""
    with folder() as where:
        cluster = where / "peers.yaml"
        cluster.write_text(f"cluster: local\npython: {PEERS / 'python'}\n")
        argv = plaunch("--cluster", cluster, "--procs", RANKS, PROGRAMS / script)
        with Command(argv, where) as command:
            command.succeed()
            trained = all_marks(where, "trained", RANKS)
    if any(one["world_size"] != RANKS for one in trained):
        raise BenchError(f"{script}: not one group of {RANKS} ranks: {trained}")
    if len({one["weights"] for one in trained}) != 1:
        raise BenchError(f"{script}: the ranks' weights differ: {trained}")
    losses = [float(loss) for loss in trained[0]["losses"]]
    if not losses[-1] < 0.7 * losses[0]:
        raise BenchError(f"{script}: it did not learn: {losses}")
    return losses
