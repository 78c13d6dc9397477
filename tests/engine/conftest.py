"""Real ranks for the engine's tests: processes with torchrun's variables, on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import signals

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A fit in the tests' own process leaves no function for signals behind."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    signals._taken, signals.notice.came = (), None
    signals.set_all(before)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that finds a port on which nobody listens."""
    return _free_port


@pytest.fixture
def run_ranks(tmp_path: Path) -> Iterator[Callable[..., list[Any]]]:
    """Run a program on so many ranks; returns what each wrote to the path in its argv[1].

    The program is text; every process of it is gone when the test ends.
    """
    processes: list[subprocess.Popen[str]] = []

    def run(program: str, ranks: int = 2, env: dict[str, str] | None = None) -> list[Any]:
        script = tmp_path / "program.py"
        script.write_text(program)
        world = {
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
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
                subprocess.Popen(
                    [sys.executable, str(script), str(tmp_path / f"result-{rank}.json")],
                    env={**os.environ, **world, **place},
                    cwd=tmp_path,
                    stderr=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        started = processes[-ranks:]
        ends = [process.communicate(timeout=DEADLINE_S) for process in started]
        codes = [process.returncode for process in started]
        assert codes == [0] * ranks, "\n".join(err for _, err in ends)
        run.output = ends  # type: ignore[attr-defined]  # what each rank printed
        return [json.loads((tmp_path / f"result-{r}.json").read_text()) for r in range(ranks)]

    try:
        yield run
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
