"""The socket on which ranks talk to their agent: one that floods it costs the others nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.lowlevel import Selector
from launcher.agent.system import System
from launcher.agent.wire import MAX_LINES, Incoming, RankLines
from launcher.core.protocol.frames import ChannelError, encode
from launcher.core.protocol.seal import Sealer
from tests.launcher.support.runs import until

TALKER = """\
import json, socket, sys
path, count = sys.argv[1], int(sys.argv[2])
lines = []
for _ in range(count):
    line = socket.socket(socket.AF_UNIX)
    line.connect(path)
    lines.append(line)
    line.sendall(b"\\0")  # the beginning of a message
print("there", flush=True)
sys.stdin.readline()
body = json.dumps({"said": count}).encode()
lines[-1].sendall((len(body).to_bytes(4, "big") + body)[1:])
sys.stdin.readline()
"""


@contextlib.contextmanager
def talker(path: str, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process with so many lines."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-S", "-c", TALKER, path, str(count)]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("spare", [1000, 40], ids=["many", "few-descriptors"])
def test_a_flood_of_lines_costs_its_own_only(tmp_path: Path, spare: int) -> None:
    """With more lines than are kept, or no descriptors left, another rank's line stays."""
    heard: list[tuple[int, dict[str, Any]]] = []
    selector = Selector()
    lines = RankLines(
        str(tmp_path), selector, System(), lambda *said: heard.append(said), lambda *_: None
    )

    def pump(until_what: Any) -> None:
        def look() -> Any:
            for fd, action in selector.wait(0.01):
                if selector.action(fd) is action:
                    action()
            return until_what()

        until(look, "the lines have been looked at")

    with talker(lines.path, 1) as honest:
        pump(lambda: lines._lines)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with talker(lines.path, MAX_LINES + 100) as flooder:
            assert honest.stdin is not None
            assert honest.stdout is not None
            assert flooder.stdout is not None
            taken = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(taken + spare, hard), hard))
            try:
                there = [False]

                def is_there() -> bool:
                    there[0] = there[0] or bool(_readable(flooder.stdout))
                    return there[0]

                pump(is_there)
                lines.drain()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert 1 < len(lines._lines) <= MAX_LINES
            honest.stdin.write(b"\n")
            honest.stdin.flush()
            pump(lambda: heard)
    assert heard == [(honest.pid, {"said": 1})]


def test_ranks_are_not_heard_while_the_controller_lags(tmp_path: Path) -> None:
    """What they say waits in their sockets, where they feel it, and comes when there is room."""
    heard: list[tuple[int, dict[str, Any]]] = []
    selector = Selector()
    lines = RankLines(
        str(tmp_path), selector, System(), lambda *said: heard.append(said), lambda *_: None
    )
    lines.hold(True)
    with socket.socket(socket.AF_UNIX) as rank:
        rank.connect(lines.path)
        rank.sendall(encode({"type": "progress"}))
        for held in (True, False):
            lines.hold(held)
            for _ in range(3):
                for _, action in selector.wait(0.05):
                    action()
            assert heard == ([] if held else [(os.getpid(), {"type": "progress"})])


def _readable(pipe: Any) -> bool:
    import select

    return bool(select.select([pipe], [], [], 0)[0])


def test_what_an_agent_hears_is_proved_where_it_was_called() -> None:
    """With a key, frames are heard only as sealed records of that key."""
    frame = encode({"type": "kill"})
    assert list(Incoming(b"k").feed(Sealer(b"k").seal(frame))) == [{"type": "kill"}]
    for forged in (frame, Sealer(b"x").seal(frame), Sealer(b"k").seal(frame)[:-1] + b"?"):
        with pytest.raises(ChannelError, match="somebody else has written"):
            list(Incoming(b"k").feed(forged.ljust(2000, b"\xff")))
    assert list(Incoming().feed(frame)) == [{"type": "kill"}]
