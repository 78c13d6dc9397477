"""What a rank weighs once torch is imported."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.commands import PROGRAMS, Command, await_marks, folder, plaunch, torchrun
from benchmarks.rows import Row, Rows, alternate, smaller


def rows(repeats: int) -> Iterator[Rows]:
    """The one row of this family."""
    yield lambda: [weight(repeats)]


def weight(repeats: int, num_ranks: int = 16) -> Row:
    """The same program under both, all ranks there at once."""
    script = PROGRAMS / "only_torch.py"
    peer, ours = alternate(
        repeats,
        lambda: pss(torchrun("--nproc-per-node", num_ranks, script), num_ranks),
        lambda: pss(plaunch("--procs", num_ranks, script), num_ranks),
    )
    row = Row(
        key="pss",
        what=f"proportional memory (PSS) of a rank after `import torch`, {num_ranks} ranks",
        target="ours/peer at most 0.5",
        unit="MiB",
        peer_name="torchrun",
        peer=peer,
        ours=ours,
    )
    return smaller(row, 0.5)


def pss(argv: Sequence[str], num_ranks: int) -> float:
    """The median over the ranks, in MiB, while all of them are there."""
    with folder() as where, Command(argv, where) as command:
        ready = await_marks(command, where, "ready", num_ranks)
        return statistics.median(_pss(one["pid"]) for one in ready)


def _pss(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.M)
    assert found is not None
    return int(found[1]) / 1024
