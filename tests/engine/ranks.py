"""Real ranks for the engine's tests: processes with torchrun's variables, on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import forkserver
from tests.forkserver import Program

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240  # a limit, for a busy machine


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def ranks_in(folder: Path) -> Iterator[Callable[..., list[Any]]]:
    """Run a program on so many ranks; returns what each wrote to the path in its argv[1].

    The program is text; every process of it is gone when the test ends.
    """
    processes: list[Program] = []

    def run(program: str, ranks: int = 2, env: dict[str, str] | None = None) -> list[Any]:
        script = folder / "program.py"
        script.write_text(program)
        world = {
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "GLOO_SOCKET_IFNAME": "lo",
            **(env or {}),
        }
        for rank in range(ranks):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
            if ranks == 1:
                world.pop("WORLD_SIZE", None)
            processes.append(
                forkserver.shared().start(
                    [str(script), str(folder / f"result-{rank}.json")],
                    env={**os.environ, **world, **place},
                    cwd=folder,
                )
            )
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
