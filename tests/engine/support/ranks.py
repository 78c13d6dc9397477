"""Real ranks for the engine's tests: processes with torchrun's variables, on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import forkserver
from tests.support.forkserver import Program

ROOT = Path(__file__).parents[3]
DEADLINE_S = 240  # a limit, for a busy machine


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_ranks(
    words: Sequence[Sequence[object]], folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Start ``python WORDS`` for the words of each rank, in a folder; yields them one by one."""
    ranks = len(words)
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "GLOO_SOCKET_IFNAME": "lo",
        "LOCAL_WORLD_SIZE": str(ranks),
        **(env or {}),
    }
    for rank, own in enumerate(words):
        place = {"WORLD_SIZE": str(ranks), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        yield forkserver.shared().start(
            [str(word) for word in own],
            env={**common, **(place if ranks > 1 else {})},
            cwd=folder,
        )


@contextlib.contextmanager
def ranks_in(folder: Path) -> Iterator[Callable[..., list[Any]]]:
    """Run a program on so many ranks; returns what each wrote to the path in its argv[1].

    The program is text; every process of it is gone when the test ends.
    """
    processes: list[Program] = []

    def run(program: str, ranks: int = 2, env: dict[str, str] | None = None) -> list[Any]:
        script = folder / "program.py"
        script.write_text(program)
        words = [[script, folder / f"result-{rank}.json"] for rank in range(ranks)]
        for process in start_ranks(words, folder, env):
            processes.append(process)  # at once: it is ended even if the next can't be started
        started = processes[-ranks:]
        ends = [process.communicate(timeout=DEADLINE_S) for process in started]
        codes = [process.returncode for process in started]
        assert codes == [0] * ranks, "\n".join(err for _, err in ends)
        run.output = ends  # type: ignore[attr-defined]  # what each rank printed
        return [json.loads((folder / f"result-{r}.json").read_text()) for r in range(ranks)]

    try:
        yield run
    finally:
        for process in processes:
            process.kill()
            process.wait(DEADLINE_S)
