"""Framed, authenticated messages over a byte stream; also the first words between the two ends.

Standard library only: this file travels to the nodes. A frame is four bytes of length (big endian)
and a JSON object. Nothing that comes from the other side is ever unpickled or evaluated.

The first words: the controller sends a secret and a nonce, the node's end answers with a marker
(whatever a login shell prints before it is skipped), its proof and a nonce of its own, and only
after the controller's proof does it run the code that follows.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

MAX_FRAME = 256 * 1024 * 1024
MAX_NOISE = 1024 * 1024
MARKER = b"\0plaunch-agent "


class ChannelError(Exception):
    """The other side does not speak our protocol, or is not who it should be."""


def encode(message: Message) -> bytes:
    """One frame. Lone surrogates (bytes that are no UTF-8) survive as JSON escapes."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME:
        raise ChannelError(f"a message of {len(body)} bytes is larger than {MAX_FRAME}")
    return len(body).to_bytes(4, "big") + body


class Decoder:
    """Bytes in, whole messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add ``data`` and yield the messages that are complete now. Raises ChannelError."""
        self._buffer += data
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_FRAME:
                raise ChannelError(f"a frame claims {size} bytes: this is not our protocol")
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            message = json.loads(body)
            if not isinstance(message, dict):
                raise ChannelError("a frame holds no JSON object")
            yield message


def proof(secret: str, side: str, nonce: str) -> str:
    """What ``side`` ("agent" or "controller") answers to ``nonce`` when it knows the secret."""
    return hmac.new(secret.encode(), f"{side} {nonce}".encode(), "sha256").hexdigest()


# What the two programs below have in common: they run on a node as ``python -I -S -c``, are small
# enough for any command line, and hold no secrets.
_WORDS = """\
import hmac, os, sys, zlib
def line():
    out = b""
    while not out.endswith(b"\\n"):
        byte = os.read(0, 1)
        if not byte: sys.exit(0)
        out += byte
    return out.decode().split()
def proof(side, nonce):
    return hmac.new(secret.encode(), (side + " " + nonce).encode(), "sha256").hexdigest()
"""
_ADMITTED = """\
mine = os.urandom(16).hex()
os.write(1, ("\\n\\0plaunch-agent %s %s %s\\n" % (mine, proof("agent", theirs), name)).encode())
answer, size = line()
if not hmac.compare_digest(answer, proof("controller", mine)): sys.exit("plaunch: wrong secret")
body, size = b"", int(size)
while len(body) < size:
    part = os.read(0, size - len(body))
    if not part: sys.exit(0)
    body += part
space = {"__name__": "plaunch_boot", "payload": zlib.decompress(body), "tether": tether}
exec(compile(space["payload"].split(b"\\0", 1)[0], "<plaunch boot>", "exec"), space)
"""

# Where the stream is a process's own standard input and output, which carries the secret.
BOOTSTRAP = f"""\
{_WORDS}secret, theirs = line()
name, tether = "-", None
{_ADMITTED}"""

# Where the node has to call: its standard input says whom, and its end later means that whoever
# started the agent has gone (the tether). ``$X`` as a name stands for the variable X.
DIAL = f"""\
{_WORDS}import socket, time
secret, name, *doors = line()
if name[0] == "$": name = os.environ.get(name[1:], "-")
call, give_up = None, time.monotonic() + 30
while call is None:
    for door in doors:
        try:
            call = socket.create_connection(door.rsplit(":", 1), 3)
            break
        except OSError as error:
            problem = "plaunch: can't reach the launcher at %s: %s" % (" ".join(doors), error)
    if call is None and time.monotonic() > give_up: sys.exit(problem)
    if call is None: time.sleep(0.1)
call.settimeout(None)
call.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
tether = os.dup(0)
os.dup2(call.fileno(), 0)
os.dup2(call.fileno(), 1)
call.close()
theirs, = line()
{_ADMITTED}"""


def greet(
    read: Callable[[int], bytes],
    write: Callable[[bytes], None],
    secret: str,
    nonce: str,
    payload: bytes,
) -> bytes:
    """The controller's side of the first words; returns bytes that came after the marker's line.

    Raises ChannelError when the stream ends or the proof is wrong. ``payload`` is compressed
    already.
    """
    write(f"{secret} {nonce}\n".encode())
    answer = hear_proof(read, secret, nonce)
    write(admission(secret, answer, payload))
    return answer.rest


@dataclass(frozen=True)
class Answer:
    """A node's end that has proved the secret: its nonce, its name, and bytes that came after."""

    nonce: str
    name: str
    rest: bytes


def hear_proof(read: Callable[[int], bytes], secret: str, nonce: str) -> Answer:
    """Wait for the marker and check the proof for ``nonce``. Raises ChannelError."""
    seen = b""
    while True:
        start = seen.find(MARKER)
        end = seen.find(b"\n", start) if start >= 0 else -1
        if end >= 0:
            break
        data = read(65536)
        if not data:
            raise ChannelError(seen.decode(errors="replace").strip()[-500:])
        seen += data
        if len(seen) > MAX_NOISE:
            raise ChannelError(f"the login shell printed {len(seen)} bytes and no agent came")
    words = seen[start + len(MARKER) : end].decode(errors="replace").split()
    if len(words) != 3 or not hmac.compare_digest(words[1], proof(secret, "agent", nonce)):
        raise ChannelError("the process on the node could not prove that it is our agent")
    return Answer(words[0], words[2], seen[end + 1 :])


def admission(secret: str, answer: Answer, payload: bytes) -> bytes:
    """Our proof and the agent's code, for a node's end that has proved itself."""
    ours = proof(secret, "controller", answer.nonce)
    return f"{ours} {len(payload)}\n".encode() + payload
