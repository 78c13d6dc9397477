"""What Ray's actor does on a node, without Ray: it starts the agent and holds a pipe to it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.clusters.ray.actor import Holder
from tests.launcher.support.runs import alive, until

# Says what it was told and what it is given, and lives until its standard input ends.
AGENT = """\
import os, sys
open(sys.argv[1] + ".part", "w").write("\\n".join([
    str(os.getpid()), sys.stdin.readline().strip(), str(os.getsid(0) == os.getpid()),
    *(os.environ.get(name, "unset") for name in sys.argv[2:])]))
os.rename(sys.argv[1] + ".part", sys.argv[1])
sys.stdin.read()
print("noise")
print("last words", file=sys.stderr)
sys.exit(7)"""
# A holder in a process of its own, as in Ray.
ALONE = """\
import sys
from launcher.clusters.ray.actor import Holder
Holder(False).run(sys.argv[1:], b"hello\\n")"""


def argv(file: Path, *names: str) -> list[str]:
    return [sys.executable, "-c", AGENT, str(file), *names]


def told(file: Path) -> list[str]:
    until(file.exists, f"{file.name} is written")
    return file.read_text().splitlines()


@pytest.fixture
def holder() -> Iterator[Holder]:
    """A holder; what it still holds at the end is let go."""
    holder = Holder(True)
    yield holder
    holder.let_go()


def start(holder: Holder, command: list[str]) -> tuple[threading.Thread, list[tuple[int, str]]]:
    """Have an agent run; returns what to join, and the list that its end goes to."""
    ends: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: ends.append(holder.run(command, b"hello\n")))
    thread.start()
    return thread, ends


def test_an_agent_is_started_in_the_nodes_environment(
    holder: Holder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with what Ray sets for its Python workers, but with the GPUs that it gave."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("PYTHONBREAKPOINT", "ray.util.rpdb.set_trace")
    names = ["CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONBREAKPOINT", "PATH"]
    thread, _ = start(holder, argv(tmp_path / "agent", *names))

    _, line, leads, *values = told(tmp_path / "agent")

    assert (line, leads) == ("hello", "True")
    assert values[0] == "2,3"
    assert values[1] != "5"
    assert values[2] == "unset"
    assert values[3] != "unset"
    holder.let_go()
    thread.join(10)


def test_its_end_is_told(holder: Holder, tmp_path: Path) -> None:
    """Exit code and standard error; its output is nobody's."""
    thread, ends = start(holder, argv(tmp_path / "agent"))
    told(tmp_path / "agent")
    holder.let_go()
    thread.join(10)

    assert ends == [(7, "last words\n")]


def test_a_second_agent_ends_the_first(holder: Holder, tmp_path: Path) -> None:
    """A node never has two of them."""
    first, ends = start(holder, argv(tmp_path / "first"))
    pid = int(told(tmp_path / "first")[0])
    second, _ = start(holder, argv(tmp_path / "second"))
    told(tmp_path / "second")

    first.join(10)
    assert ends == [(7, "last words\n")]
    assert not alive(pid)
    holder.let_go()
    second.join(10)


def test_the_agent_notices_the_end_of_its_holder(tmp_path: Path) -> None:
    """Kill -9 of the actor's process closes the pipe."""
    with subprocess.Popen([sys.executable, "-c", ALONE, *argv(tmp_path / "agent")]) as process:
        pid = int(told(tmp_path / "agent")[0])
        process.kill()
        process.wait(10)

    until(lambda: not alive(pid), "the agent has ended")
