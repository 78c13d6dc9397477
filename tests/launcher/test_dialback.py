"""Nodes that call back: who gets in, who doesn't, and what is left when either side goes."""

import contextlib
import marshal
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import pytest

from launcher import channel
from launcher.clusters.base import NodeError, ProvenStream
from launcher.clusters.dialback import Reception, addresses_towards

ECHO = """\
import os
os.write(1, b"hello from the node")
while data := os.read(0, 100):
    os.write(1, data.upper())
"""
TETHERED = """\
import os
os.write(1, b"waiting")
os.read(globals()["tether"], 1)
os.write(1, b", the starter has gone")
"""


def cargo(code: str) -> Callable[[str], bytes]:
    packed = zlib.compress(marshal.dumps({"launcher.agent.boot": code}, 2))
    return lambda _: packed + b"{}"


@pytest.fixture
def reception() -> Iterator[Reception]:
    with contextlib.closing(Reception(["127.0.0.1"])) as opened:
        yield opened


@contextlib.contextmanager
def dialler(invitation: bytes, **env: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A node's side, started as a cluster starts it."""
    argv = [sys.executable, "-I", "-S", "-c", channel.DIAL]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stderr=pipe, env={**os.environ, **env}) as process:
        assert process.stdin is not None
        process.stdin.write(invitation)
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def read_all(stream: ProvenStream, words: bytes, until: bytes) -> bytes:
    while until not in words:
        more = stream.read(100)
        assert more, words
        words += more
    return words


def test_a_node_that_was_invited_runs_our_code(reception: Reception) -> None:
    """Both sides prove the secret, then the code runs and talks over the same connection."""
    with dialler(reception.invitation("node1")) as process:
        stream = reception.stream("node1", 20)
        with contextlib.closing(stream):
            words = read_all(stream, stream.admit(cargo(ECHO)), b"from the node")
            stream.write(b"again")
            assert read_all(stream, b"", b"AGAIN") == b"AGAIN"
            assert words == b"hello from the node"
        process.wait(20)


def test_one_invitation_serves_many_nodes(reception: Reception) -> None:
    """Where all get the same line, each gives the name that its scheduler has told it."""
    line = reception.invitation("$SLURMD_NODENAME")
    with dialler(line, SLURMD_NODENAME="b"), dialler(line, SLURMD_NODENAME="a"):
        for name in ("a", "b"):
            stream = reception.stream(name, 20)
            with contextlib.closing(stream):
                assert b"hello" in read_all(stream, stream.admit(cargo(ECHO)), b"node")


def test_the_secret_is_never_sent_to_a_caller(reception: Reception) -> None:
    """What comes out of the door is a nonce, and without the right proof nothing more."""
    secret, _, door = reception.invitation("x").decode().split()
    address, port = door.rsplit(":", 1)
    with socket.create_connection((address, int(port)), 5) as call:
        call.settimeout(20)
        nonce = call.recv(1000)
        wrong = channel.proof("guess", "agent", nonce.decode().strip())
        call.sendall(channel.MARKER + f"abc {wrong} node1 python\n".encode())
        heard = b"" if (rest := _rest(call)) is None else rest

    assert secret.encode() not in nonce + heard
    assert heard == b""
    with pytest.raises(NodeError, match="did not call back"):
        reception.stream("node1", 0.1)
    with pytest.raises(NodeError, match="last heard: srun: job is \\\\x1b queued"):
        reception.stream("node1", 0.1, errors=lambda: "starting\nsrun: job is \x1b queued\n")


def _rest(call: socket.socket) -> bytes | None:
    try:
        return call.recv(1000)
    except ConnectionError:
        return None


def test_a_node_runs_nothing_for_one_who_does_not_know_the_secret() -> None:
    """The dialler ends when whoever answers at the door can't prove that it is the launcher."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        line = f"secret node1 127.0.0.1:{door.getsockname()[1]}\n".encode()
        with dialler(line) as process:
            call, _ = door.accept()
            with call:
                call.settimeout(20)
                call.sendall(b"nonce\n")
                answer = channel.hear_proof(call.recv, "secret", "nonce")
                code = cargo("import os; os.write(2, b'ran')")("")
                call.sendall(channel.admission("guess", answer, code))
                assert process.wait(20) == 1
            assert process.stderr is not None
            assert process.stderr.read() == b"plaunch: wrong secret\n"


def test_the_tether_shows_that_the_starter_has_gone(reception: Reception) -> None:
    """The old standard input stays open beside the connection; its end is seen by the agent."""
    with dialler(reception.invitation("node1")) as process:
        stream = reception.stream("node1", 20)
        with contextlib.closing(stream):
            read_all(stream, stream.admit(cargo(TETHERED)), b"waiting")
            assert process.stdin is not None
            process.stdin.close()
            assert b"gone" in read_all(stream, b"", b"gone")


def test_a_start_that_failed_is_told_at_once(reception: Reception) -> None:
    """Nobody waits for a call that can't come any more."""
    with pytest.raises(NodeError, match="srun said no"):
        reception.stream("node1", 60, over=lambda: "srun said no")


def test_addresses_are_those_that_lead_to_the_nodes() -> None:
    """Loopback only where nothing else is; names that nobody knows are left out."""
    assert addresses_towards(["127.0.0.1", "no-such-host.invalid"]) == ["127.0.0.1"]
