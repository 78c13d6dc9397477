"""What a command costs before it does anything."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.commands import BIN, PEERS
from benchmarks.rows import BenchError, Row, Rows, alternate, below

BEYOND_TORCH = """\
import time, torch
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""
NAMES = "Trainer, LightningModule"
IMPORTED = """\
import sys
from launcher import cli
try: cli.main(["--help"])
finally: print("\\n", *sorted({"torch", "numpy", "paramiko", "rich", "ray"} & set(sys.modules)))
"""


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    yield lambda: [help_text(repeats)]
    yield lambda: [import_engine(repeats)]


def help_text(repeats: int) -> Row:
    """``plaunch --help``, and that nothing heavy is imported for it."""
    peer, ours = alternate(
        repeats,
        lambda: _seconds([str(BIN / "torchrun"), "--help"]),
        lambda: _seconds([str(BIN / "plaunch"), "--help"]),
    )
    heavy = _output([sys.executable, "-c", IMPORTED]).splitlines()[-1].split()
    row = Row(
        key="help",
        what="`plaunch --help`",
        target="at most 0.15 s, torch not imported",
        peer_name="torchrun --help",
        peer=peer,
        ours=ours,
        note=f"imports {', '.join(heavy)}" if heavy else "",
    )
    row = below(row, 0.15)
    return replace(row, met=row.met and not heavy)


def import_engine(repeats: int) -> Row:
    """``import engine`` where torch is imported already.

    Its names are loaded when they are asked for, so ask for those that every script needs.
    """
    peer, ours = alternate(
        repeats,
        lambda: _beyond_torch(PEERS / "python", "from lightning.pytorch import " + NAMES),
        lambda: _beyond_torch(Path(sys.executable), "from engine import " + NAMES),
    )
    row = Row(
        key="import_engine",
        what="`import engine`, with Trainer and LightningModule, beyond `import torch`",
        target="at most 0.15 s",
        peer_name="Lightning",
        our_name="engine",
        peer=peer,
        ours=ours,
    )
    return below(row, 0.15)


def _beyond_torch(python: Path, statement: str) -> float:
    code = BEYOND_TORCH.format(statement=statement)
    return float(_output([str(python), "-c", code]).split()[-1])


def _seconds(argv: Sequence[str]) -> float:
    start = time.perf_counter()
    _output(argv)
    return time.perf_counter() - start


def _output(argv: Sequence[str]) -> str:
    done = subprocess.run(list(argv), capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise BenchError(f"{argv[0]} ended with {done.returncode}\n{done.stderr[-1000:]}")
    return done.stdout
