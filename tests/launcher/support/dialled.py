"""What the tests of nodes that call back share: a node's code, its dialler, and strangers."""

from __future__ import annotations

import contextlib
import marshal
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

from launcher.clusters.base import ProvenStream
from launcher.clusters.dialback import Reception
from launcher.core.protocol import channel

# The node's code for these tests seals by means of its own: what is told of records is enough.
SEALED = """\
import hmac, os
def mac(way, number, data):
    told = number.to_bytes(8, "big") + len(data).to_bytes(4, "big") + data
    return hmac.digest(keys[way], told, "sha256")
def say(number, data):
    os.write(1, len(data).to_bytes(4, "big") + data + mac(1, number, data))
def exactly(size):
    out = b""
    while len(out) < size:
        part = os.read(0, size - len(out))
        if not part: raise SystemExit
        out += part
    return out
"""
ECHO = f"""\
{SEALED}say(0, b"hello from the node")
for number in range(100):
    data = exactly(int.from_bytes(exactly(4), "big"))
    if exactly(32) != mac(0, number, data): os._exit(9)
    say(number + 1, data.upper())
"""
TETHERED = f"""\
{SEALED}say(0, b"waiting")
os.read(tether, 1)
say(1, b", the starter has gone")
"""


def cargo(code: str) -> Callable[[str], bytes]:
    packed = zlib.compress(marshal.dumps({"launcher.agent.boot": code}, 2))
    return lambda _: packed + b"{}"


@contextlib.contextmanager
def dialler(invitation: bytes, **env: str) -> Iterator[subprocess.Popen[bytes]]:
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


def door_of(invitation: bytes) -> tuple[str, int]:
    """Where the invited have to call."""
    address, _, port = invitation.decode().split()[2].rpartition(":")
    return address, int(port)


def call(invitation: bytes) -> socket.socket:
    """A stranger at the door."""
    return socket.create_connection(door_of(invitation), 20)


def greets(reception: Reception, name: str) -> bool:
    """Whether a node of this name has come in and runs our code."""
    stream = reception.stream(name, 30)
    with contextlib.closing(stream):
        return b"hello" in read_all(stream, stream.admit(cargo(ECHO)), b"node")


def rest(caller: socket.socket) -> bytes:
    """What a caller still hears until it is hung up on."""
    with contextlib.suppress(ConnectionError):
        return caller.recv(1000)
    return b""
