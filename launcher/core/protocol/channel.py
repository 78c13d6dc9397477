"""The first words between the controller and a node's end: both prove the job's secret.

The controller sends a secret and a nonce, the node's end answers with a marker
(whatever a login shell prints before it is skipped), its proof and a nonce of its own, and only
after the controller's proof does it run the code that follows. A proof covers both nonces, and all
that was said before it: the node's name, and the code itself by its digest.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from launcher.core.protocol.frames import ChannelError

Message = dict[str, Any]
PayloadFor = Callable[[str], bytes]  # the agent's code, packed for a python of this kind

MAX_NOISE = 1024 * 1024
MAX_ANSWER = 1 << 17  # from the marker on, with all that may come with it
MARKER = b"\0plaunch-agent "


def proof(secret: str, side: str, *words: str) -> str:
    """What ``side`` ("agent" or "controller") answers to these words when it knows the secret."""
    return hmac.new(secret.encode(), " ".join((side, *words)).encode(), "sha256").hexdigest()


def keys(secret: str, nonce: str, answer: Answer) -> tuple[bytes, bytes]:
    """The session's keys: for what goes to the agent, and for what comes from it."""
    to_agent = proof(secret, "to-agent", nonce, answer.nonce)
    from_agent = proof(secret, "from-agent", nonce, answer.nonce)
    return to_agent.encode(), from_agent.encode()


# What the two programs below have in common: they run on a node as ``python -I -S -c``, are small
# enough for any command line, and hold no secrets.
_WORDS = """\
import os, sys, marshal, zlib
from _operator import _compare_digest as same
try: from _sha2 import sha256
except ImportError:
    try: from _sha256 import sha256
    except ImportError: from hashlib import sha256
def line():
    out = b""
    while not out.endswith(b"\\n"):
        byte = os.read(0, 1)
        if not byte or len(out) > 65536: sys.exit(0)
        out += byte
    return out.decode("ascii", "replace").split()
def proof(*words):
    outer, inner = (bytes(b ^ pad for b in secret.encode().ljust(64, b"\\0")) for pad in (92, 54))
    return sha256(outer + sha256(inner + " ".join(words).encode()).digest()).hexdigest().encode()
"""
_ADMITTED = """\
mine = os.urandom(16).hex()
try: from _frozen_importlib_external import MAGIC_NUMBER as magic
except ImportError: magic = b""
python = "%s-%s" % (sys.implementation.cache_tag, magic.hex())
told = [theirs, mine, name, python]
answer = "%s %s %s %s" % (mine, proof("agent", *told).decode(), name, python)
os.write(1, ("\\n\\0plaunch-agent " + answer + "\\n").encode())
answer, size, digest = line()
if not same(answer.encode(), proof("controller", *told, size, digest)):
    sys.exit("plaunch: wrong secret")
body, size = b"", int(size)
while len(body) < size:
    part = os.read(0, size - len(body))
    if not part: sys.exit(0)
    body += part
if digest != "-" and not same(sha256(body).hexdigest(), digest):
    sys.exit("plaunch: this code is not the launcher's")
unpack = zlib.decompressobj()
files = marshal.loads(unpack.decompress(body))
space = {"__name__": "plaunch_boot", "files": files, "config": unpack.unused_data}
space["tether"] = tether
space["keys"] = tether and [proof(way, theirs, mine) for way in ("to-agent", "from-agent")]
exec(files["launcher.agent.boot"], space)
"""

# Where the stream is a process's own standard input and output, which carries the secret.
BOOTSTRAP = f"""\
{_WORDS}secret, theirs = line()
name, tether = "-", None
{_ADMITTED}"""

# Where the node has to call: its standard input says whom, and its end later means that whoever
# started the agent has gone (the tether). ``$X`` as a name stands for the variable X. Anybody may
# touch that connection: all that follows on it is sealed with the session's keys.
DIAL = f"""\
{_WORDS}import time, _socket as socket
secret, name, *doors = line()
if name[0] == "$": name = os.environ.get(name[1:], "-")
call, give_up = None, time.monotonic() + 30
while call is None:
    for door in doors:
        host, port = door.rsplit(":", 1)
        try:
            call = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            call.settimeout(3)
            call.connect((host, int(port)))
            break
        except OSError as error:
            call = None
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
    payload_for: PayloadFor,
) -> bytes:
    """The controller's side of the first words; returns bytes that came after the marker's line.

    Raises ChannelError when the stream ends or the proof is wrong.
    """
    write(f"{secret} {nonce}\n".encode())
    answer = hear_proof(read, secret, nonce)
    write(admission(secret, nonce, answer, payload_for(answer.python), with_digest=False))
    return answer.rest


@dataclass(frozen=True)
class Answer:
    """A node's end that has proved the secret: its nonce, its name, and bytes that came after.

    ``python`` is the kind of compiled code that it can run.
    """

    nonce: str
    name: str
    python: str
    rest: bytes


def hear_proof(read: Callable[[int], bytes], secret: str, nonce: str) -> Answer:
    """Wait for the marker and check the proof for ``nonce``. Raises ChannelError."""
    seen, searched = bytearray(), 0
    while True:
        marked = marked_line(seen, searched)
        if marked is not None:
            break
        at = seen.find(MARKER, searched)
        searched = at if at >= 0 else max(0, len(seen) - len(MARKER))
        data = read(65536)
        if not data:
            raise ChannelError(seen.decode(errors="replace").strip()[-500:])
        seen += data
        if at >= 0 and len(seen) - at > MAX_ANSWER:
            break
        if len(seen) > MAX_NOISE:
            raise ChannelError(f"the login shell printed {len(seen)} bytes and no agent came")
    answer = None if marked is None else proved(*marked, secret, nonce)
    if answer is None:
        raise ChannelError("the process on the node could not prove that it is our agent")
    return answer


def marked_line(seen: bytes | bytearray, start: int = 0) -> tuple[bytes, bytes] | None:
    """The line behind the marker, and what came after it; None while it isn't whole.

    Up to ``start`` there is no marker.
    """
    at = seen.find(MARKER, start)
    end = seen.find(b"\n", at) if at >= 0 else -1
    return (bytes(seen[at + len(MARKER) : end]), bytes(seen[end + 1 :])) if end >= 0 else None


def proved(line: bytes, rest: bytes, secret: str, nonce: str) -> Answer | None:
    """What a node's end has answered to ``nonce``, if it knows the secret."""
    words = line.decode("ascii", "replace").split()
    if len(words) != 4:
        return None
    mine, claimed, name, python = words
    right = proof(secret, "agent", nonce, mine, name, python)
    # as bytes: text that is no ASCII can't be compared
    if not hmac.compare_digest(claimed.encode(), right.encode()):
        return None
    return Answer(mine, name, python, rest)


def admission(
    secret: str, nonce: str, answer: Answer, payload: bytes, *, with_digest: bool = True
) -> bytes:
    """Our proof and the agent's code, for a node's end that has proved itself.

    The code's digest is left out where the stream is nobody else's to touch: it costs a start time.
    """
    size, digest = str(len(payload)), sha256(payload).hexdigest() if with_digest else "-"
    proven = (nonce, answer.nonce, answer.name, answer.python, size, digest)
    return f"{proof(secret, 'controller', *proven)} {size} {digest}\n".encode() + payload
