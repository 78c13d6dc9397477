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


# Runs on the node as ``python -I -c``: small enough for any command line, and free of secrets.
BOOTSTRAP = """\
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
secret, theirs = line()
mine = os.urandom(16).hex()
os.write(1, b"\\n\\0plaunch-agent " + (mine + " " + proof("agent", theirs) + "\\n").encode())
answer, size = line()
if not hmac.compare_digest(answer, proof("controller", mine)): sys.exit("plaunch: wrong secret")
body, size = b"", int(size)
while len(body) < size:
    part = os.read(0, size - len(body))
    if not part: sys.exit(0)
    body += part
space = {"__name__": "plaunch_boot", "payload": zlib.decompress(body), "secret": secret}
exec(compile(space["payload"].split(b"\\0", 1)[0], "<plaunch boot>", "exec"), space)
"""


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
        if start < 0 and len(seen) > MAX_NOISE:
            raise ChannelError(f"the login shell printed {len(seen)} bytes and no agent came")
    words = seen[start + len(MARKER) : end].decode(errors="replace").split()
    if len(words) != 2 or not hmac.compare_digest(words[1], proof(secret, "agent", nonce)):
        raise ChannelError("the process on the node could not prove that it is our agent")
    answer = proof(secret, "controller", words[0])
    write(f"{answer} {len(payload)}\n".encode() + payload)
    return seen[end + 1 :]
