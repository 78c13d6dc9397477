"""Standard input: the only rank's, as far as it reads; the rest is left to whoever comes next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from launcher.agent.lowlevel import Selector
from launcher.agent.ranks import waits
from launcher.agent.ranks.stdin import RankInput
from launcher.agent.ranks.workers import Group, Worker
from launcher.agent.system import System
from tests.launcher.support.runs import PLAUNCH, Launcher, until

LOOP = """
while read -r turn; do
    echo "turn $turn"
    {plaunch} --quiet --start cold main.py "$turn"
done
"""


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_rank_that_does_not_read_leaves_it_to_the_loop(plaunch: Launcher, kind: str) -> None:
    """`while read` around plaunch sees every line of a file and of a pipe."""
    plaunch.write("main.py", "import sys\nprint('ran', sys.argv[1])\n")
    plaunch.write("loop.sh", LOOP.format(plaunch=PLAUNCH))
    command = {"file": "sh loop.sh < list", "pipe": "cat list | sh loop.sh"}[kind]
    plaunch.write("list", "one\ntwo\n")
    run = plaunch.start(command=("sh", "-c", command))
    assert run.wait().ok().out == "turn one\nran one\nturn two\nran two\n"


def test_a_rank_that_reads_takes_what_it_reads(plaunch: Launcher) -> None:
    """From a pipe and from a file; the next program goes on where it stopped."""
    plaunch.write("main.py", "import os\nprint(os.read(0, 4).decode(), end='', flush=True)\n")
    command = f"echo yes | {PLAUNCH} --quiet --start cold main.py; "
    command += f"(read -r first; {PLAUNCH} --quiet --start cold main.py; cat) < list"
    plaunch.write("list", "one\ntwo\nthree\n")
    run = plaunch.start(command=("sh", "-c", command))
    assert run.wait().ok().out == "yes\ntwo\nthree\n"


READERS = {
    "read": "sys.stdin.readline()",
    "poll": "p = select.poll(); p.register(0, select.POLLIN); p.poll()",
    "select": "select.select([0], [], [])",
    "epoll": "e = select.epoll(); e.register(0, select.EPOLLIN); e.poll()",
    "a thread": "threading.Thread(target=lambda: os.read(0, 1)).start(); time.sleep(60)",
    "another number": "os.dup2(0, 9); os.close(0); os.read(9, 1)",
    "asyncio": "asyncio.run(wait())",
}
ELSEWHERE = {
    "sleep": "time.sleep(60)",
    "another pipe": "os.read(os.pipe()[0], 10)",
    "poll of another": "p = select.poll(); p.register(os.pipe()[0], select.POLLIN); p.poll()",
    "select of another": "select.select([os.pipe()[0]], [], [])",
    "work": "[None for _ in iter(int, 1)]",
}
CODE = """
import asyncio, os, select, sys, threading, time
async def wait():
    loop = asyncio.get_running_loop()
    loop.add_reader(0, lambda: None)
    await asyncio.sleep(60)
os.write(1, b"-")
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test starts; they are ended with it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_it_can_be_seen_whether_a_process_waits_for_its_input(
    processes: list[subprocess.Popen[bytes]],
) -> None:
    """By every call with which one can; and not where it waits for something else."""
    if not waits.can_be_seen(os.getpid()):
        pytest.skip("this machine does not tell what calls a process is in")
    read, write = os.pipe()
    inode = os.fstat(read).st_ino
    found: dict[str, int] = {}
    try:
        for what, code in {**READERS, **ELSEWHERE}.items():
            process = subprocess.Popen(
                [sys.executable, "-c", CODE + code], stdin=read, stdout=subprocess.PIPE
            )
            processes.append(process)
            found[what] = process.pid
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"-"
        for what in READERS:
            size = until(
                lambda pid=found[what]: waits.wanted_bytes([pid], inode),  # type: ignore[misc]
                f"it is seen that a process waits by {what}",
            )
            assert size == {"a thread": 1, "another number": 1}.get(what, size)
        for what in ELSEWHERE:
            assert waits.wanted_bytes([found[what]], inode) == 0, what
    finally:
        os.close(read)
        os.close(write)


def test_input_is_asked_for_when_it_is_waited_for(
    processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each time that the rank waits, and never after the end; where nobody can see whether
    it waits, all of it is asked for at once."""
    worker = Worker(0, 0, {})
    group = Group(1, [worker], System(), with_stdin=True)
    ends = group.open_streams(worker)
    processes.append(subprocess.Popen(["cat"], stdin=ends[0], stdout=ends[1]))
    worker.pid = processes[0].pid
    assert worker.stdin is not None
    own, said, now = RankInput(Selector(), System()), [], iter(range(1000000))
    own.attach(worker.stdin)

    def ask() -> int:
        own.ask(group, True, float(next(now)), said.append)
        return len(said)

    until(lambda: ask() == 1, "input is asked for")
    assert (ask(), said[0]["always"]) == (1, False)
    own.feed(b"line\n", over=False)
    until(lambda: ask() == 2, "more is asked for")
    for fd in ends:
        os.close(fd)
    own.feed(b"", over=True)
    assert ask() == 2
    assert processes[0].wait(60) == 0
    monkeypatch.setattr(waits, "can_be_seen", lambda _: False)
    blind, (read, write) = RankInput(Selector(), System()), os.pipe()
    blind.attach(write)
    blind.ask(group, True, 1.0, said.append)
    assert said[-1] == {"type": "want", "bytes": waits.CHUNK, "always": True}
    blind.detach()
    os.close(read)
