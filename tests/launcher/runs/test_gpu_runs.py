"""Whole runs on a machine with GPUs (a stand-in's): each rank sees what was chosen, runs share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.agent.node.gpu_lease import holder

DEADLINE_S = 60
SCRIPT = """
import os, sys
with open(sys.argv[1] + os.environ["RANK"], "w") as file:
    file.write(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))
if len(sys.argv) > 2:
    open(sys.argv[2]).read()  # a pipe: waits until the test lets it go
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, driver: Callable[..., None]) -> Iterator[Start]:
    """Start plaunch in a folder of its own, on a machine with two free GPUs and a busy one."""
    driver({"uuid": "GPU-a"}, {"uuid": "GPU-b", "compute_pids": [1]}, {"uuid": "GPU-c"})
    (tmp_path / "train.py").write_text(SCRIPT)
    os.mkfifo(tmp_path / "wait")
    runs: list[subprocess.Popen[str]] = []

    def run(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "launcher", "--start", "cold", *words]
        runs.append(
            subprocess.Popen(
                command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
        return runs[-1]

    yield run
    for process in runs:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, output


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, end(process)
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_every_rank_sees_the_gpus_of_its_node(start: Start, tmp_path: Path) -> None:
    """Free ones only, as UUIDs, all of them for each rank; one rank a GPU."""
    code, output = end(start("--gpus", "2", "--result", "r.json", "train.py", "seen"))

    assert code == 0, output
    assert [(tmp_path / f"seen{rank}").read_text() for rank in (0, 1)] == ["GPU-a,GPU-c"] * 2
    assert json.loads((tmp_path / "r.json").read_text())["nodes"][0]["gpus"] == ["GPU-a", "GPU-c"]


def test_without_gpus_a_rank_sees_none(start: Start, tmp_path: Path) -> None:
    """--gpus 0 is the CPU, also on a machine with GPUs."""
    code, output = end(start("--gpus", "0", "train.py", "seen"))

    assert code == 0, output
    assert (tmp_path / "seen0").read_text() == ""


def test_two_runs_never_get_the_same_gpu(start: Start, tmp_path: Path) -> None:
    """A second run gets the other GPU, a third is told who has them, until a run is killed."""
    first = start("--gpus", "free:1", "train.py", "first", "wait")
    wait_for((tmp_path / "first0").exists, first)
    second = start("--gpus", "free:1", "train.py", "second", "wait")
    wait_for((tmp_path / "second0").exists, second)

    code, output = end(start("--gpus", "free:1", "train.py", "third"))

    seen = {(tmp_path / name).read_text() for name in ("first0", "second0")}
    assert seen == {"GPU-a", "GPU-c"}
    assert code == 3
    assert "asked for 1 free GPU, " in output
    assert "leased by run " in output

    first.kill()
    limit = time.monotonic() + DEADLINE_S
    while holder("GPU-a"):
        assert time.monotonic() < limit
        time.sleep(0.02)

    code, output = end(start("--gpus", "free:1", "train.py", "fourth"))
    assert code == 0, output
    assert (tmp_path / "fourth0").read_text() == "GPU-a"


def test_more_gpus_than_there_are_is_exit_code_3(start: Start) -> None:
    """The numbers are told, and nothing is started."""
    code, output = end(start("--gpus", "4", "train.py", "seen"))

    assert code == 3
    assert "asked for 4 GPUs, " in output
    assert "has 3: 2 free, 1 used by pid 1 (root)" in output


LOSES_ITS_AGENT = """
import os, signal, sys
from launcher.agent.node.gpu_lease import holder
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
with open("leased", "w") as file:
    file.write(str(holder(os.environ["CUDA_VISIBLE_DEVICES"])))
"""


def test_a_node_that_comes_back_leases_its_gpus_again(start: Start, tmp_path: Path) -> None:
    """The lease ends with the agent; the next agent takes it for the next attempt."""
    (tmp_path / "train.py").write_text(LOSES_ITS_AGENT)
    code, output = end(start("--gpus", "1", "--max-restarts", "1", "train.py"))

    assert code == 0, output
    assert "is lost" in output
    assert (tmp_path / "leased").read_text() not in ("", "None")
