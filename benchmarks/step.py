"""A training step beside the same step in a plain loop: what does the engine add?"""

from __future__ import annotations

import contextlib
import os
import pty
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.commands import FOREIGN, PEERS, PROGRAMS, all_marks, folder
from benchmarks.rows import BenchError, Row, Rows, alternate, below

TARGETS = {"bare": 1.10, "logged": 1.25}
WITH = {
    "bare": "nothing else on",
    "logged": "with `self.log`, CSV logger and progress bar at their defaults",
}
STEPS = 500
BLOCKS = {"engine": 41, "lightning": 13}
DEADLINE_S = 300


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    for mode, target in TARGETS.items():
        yield partial(overhead, repeats, mode, target)


def overhead(repeats: int, mode: str, target: float) -> list[Row]:
    """The engine's factor, with Lightning's beside it."""
    peer, ours = alternate(
        repeats,
        lambda: factor(PEERS / "python", "lightning", mode),
        lambda: factor(Path(sys.executable), "engine", mode),
    )
    row = Row(
        key=f"step_{mode}",
        what=f"a training step over a plain loop's, MLP 32-32-2, batch 32, {WITH[mode]}",
        target=f"at most {target:.2f}",
        unit="x",
        peer_name="Lightning",
        our_name="engine",
        peer=peer,
        ours=ours,
        note=f"in one process and in turns of {STEPS} steps; one thread, on a terminal",
    )
    return [below(row, target)]


def factor(python: Path, name: str, mode: str) -> float:
    """The engine's median time for a step over the plain loop's."""
    script = [str(PROGRAMS / "steps.py"), name, mode, str(BLOCKS[name]), str(STEPS)]
    with folder() as where:
        code, words = on_a_terminal([str(python), *script], where)
        if code != 0:
            raise BenchError(f"steps.py {name} {mode} ended with {code}\n{words}")
        (found,) = all_marks(where, "timed", 1)
    return statistics.median(found["engine"]) / statistics.median(found["plain"])


def on_a_terminal(argv: list[str], where: Path) -> tuple[int, str]:
    """Run a program on a terminal, where bars are drawn; its exit code and its last words."""
    ours, theirs = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in FOREIGN} | {"TERM": "xterm"}
    process = subprocess.Popen(
        argv, cwd=where, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    words = bytearray()

    def drain() -> None:
        with contextlib.suppress(OSError):  # a terminal's end is an error
            while data := os.read(ours, 65536):
                words.extend(data)
                del words[:-3000]

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    try:
        code = process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{argv[1]} did not end in time") from None
    finally:
        process.kill()
        process.wait()
        reader.join(5)
        os.close(ours)
    return code, words.decode(errors="replace")
