"""Nodes that call back: for clusters whose transport carries no byte stream of its own.

The launcher opens doors (listening sockets) on its own addresses. Whatever starts the node's side
(an srun step, a Ray actor) hands it an invitation on its standard input: a secret and the doors.
Nobody who can't prove the secret gets past the door, nothing is run before both sides have proved
it, and all that is said later is sealed. The channel is authenticated, not encrypted.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from launcher.clusters.base import last_line
from launcher.core.errors import NodeError
from launcher.core.protocol import channel
from launcher.core.protocol.seal import Opener, Sealer

PROOF_S = 10.0  # for a caller to prove that it knows the secret, from its call on
BACKLOG = 512
CALLERS = 512  # who may be at the doors and have proved nothing yet
MAX_PROOF = 4096  # bytes of a caller's answer


class DialledStream:
    """A node's call that has been taken, as a stream; sealed in both directions."""

    def __init__(
        self,
        call: socket.socket,
        secret: str,
        nonce: str,
        answer: channel.Answer,
        wait: Callable[[float], int | None],
        errors: Callable[[], str],
    ) -> None:
        self._call, self._secret, self._nonce, self._answer = call, secret, nonce, answer
        self._wait, self._errors = wait, errors
        to_agent, from_agent = channel.keys(secret, nonce, answer)
        self._sealer, self._opener = Sealer(to_agent), Opener(from_agent)
        self._writing = threading.Lock()

    def admit(self, cargo: channel.PayloadFor) -> bytes:
        """Let the agent in: our proof and its code. Returns what it has said since its proof."""
        payload = cargo(self._answer.python)
        with self._writing:
            self._call.sendall(channel.admission(self._secret, self._nonce, self._answer, payload))
        return self._opener.open(self._answer.rest)

    def read(self, size: int) -> bytes:
        """Wait for data; empty when the other side has gone, and after ``close``.

        Raises ChannelError for what nobody can have sent who knows the secret.
        """
        while True:
            try:
                data = self._call.recv(size)
            except OSError:
                return b""
            proved = self._opener.open(data)
            if proved or not data:
                return proved

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the other side has gone."""
        with self._writing:
            self._call.sendall(self._sealer.seal(data))

    def errors(self) -> str:
        """What whoever started the agent has written to its standard error."""
        return self._errors()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, if whoever started the agent knows it in time."""
        return self._wait(timeout_s)

    def close(self) -> None:
        """Hang up; a thread that waits in ``read`` or ``write`` returns at once."""
        with contextlib.suppress(OSError):
            self._call.shutdown(socket.SHUT_RDWR)
        self._call.close()


@dataclass
class Caller:
    """Somebody at a door who has proved nothing yet."""

    call: socket.socket
    source: str  # the address that the call comes from
    until: float  # monotonic: the proof must be there by then
    nonce: str = field(default_factory=lambda: os.urandom(16).hex())
    heard: bytes = b""


@dataclass
class Invited:
    """Whom an invitation is for: the names that have not called yet."""

    secret: str
    names: set[str]


@dataclass(frozen=True)
class Arrived:
    """A node that has called and proved the secret of its invitation."""

    call: socket.socket
    secret: str
    nonce: str
    answer: channel.Answer


class Reception:
    """The launcher's doors, and who has come in. One thread attends to all who call."""

    def __init__(
        self, addresses: Sequence[str], say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._say = say
        self._invited: list[Invited] = []
        self._doors: list[socket.socket] = []
        self._arrived: dict[str, Arrived] = {}
        self._news = threading.Condition()
        self._closed = False
        self._said: set[str] = set()
        problem: OSError | None = None
        for address in addresses:
            try:
                self._doors.append(_open_door(address))
            except OSError as error:
                problem = error
        if not self._doors:
            raise problem or OSError("there is no address to listen on")
        self._callers: list[Caller] = []  # the oldest first
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = CALLERS if soft == resource.RLIM_INFINITY else min(CALLERS, max(8, soft // 4))
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        for door in self._doors:
            self._selector.register(door, selectors.EVENT_READ)
        self._attendant = threading.Thread(target=self._attend, daemon=True)
        self._attendant.start()

    def invite(self, names: Sequence[str], told: str | None = None) -> bytes:
        """What the dialler of these nodes reads from its standard input: a secret, its name, us.

        Each name lets one caller in; a former call of such a node counts no more. ``told`` is what
        takes the place of the name where one line is for several: ``$X`` for its variable X.
        """
        invited = Invited(os.urandom(32).hex(), set(names))
        with self._news:
            for older in self._invited:
                older.names -= invited.names
            self._invited = [*(one for one in self._invited if one.names), invited]
            for name in names:
                former = self._arrived.pop(name, None)
                if former is not None:
                    former.call.close()
        doors = []
        for door in self._doors:
            address, port = door.getsockname()[:2]
            doors.append(f"{address}:{port}")
        return f"{invited.secret} {told or names[0]} {' '.join(doors)}\n".encode()

    def stream(
        self,
        name: str,
        timeout_s: float,
        *,
        over: Callable[[], str | None] = lambda: None,
        wait: Callable[[float], int | None] = lambda _: None,
        errors: Callable[[], str] = lambda: "",
    ) -> DialledStream:
        """Wait until the node ``name`` has called. Raises NodeError.

        ``over`` tells why it never will, as soon as that is known; ``wait`` and ``errors`` are the
        stream's.
        """
        give_up = time.monotonic() + timeout_s
        with self._news:
            while name not in self._arrived:
                problem = over()
                left = give_up - time.monotonic()
                if problem is None and (left < 0 or self._closed):
                    problem = f"its agent did not call back within {timeout_s:.0f} s"
                    if line := last_line(errors()):
                        problem += f"; last heard: {line}"
                if problem is not None:
                    raise (
                        NodeError(
                            name, problem, "it must reach this host by TCP; check the firewall"
                        )
                        if not errors()
                        else NodeError(name, problem)
                    )
                self._news.wait(min(0.2, max(left, 0.01)))
            found = self._arrived.pop(name)
        return DialledStream(found.call, found.secret, found.nonce, found.answer, wait, errors)

    def close(self) -> None:
        """Close all doors, and hang up on whoever came and was not asked for."""
        with self._news:
            if self._closed:
                return
            self._closed = True
            waiting, self._arrived = self._arrived, {}
            self._news.notify_all()
        self._waker.close()
        self._attendant.join()
        for arrived in waiting.values():
            arrived.call.close()

    # -- what follows is the attendant's: nothing in it waits for any one caller

    def _attend(self) -> None:
        while not self._closed:
            pause = min((one.until for one in self._callers), default=None)
            left = None if pause is None else max(0.0, pause - time.monotonic())
            for key, _ in self._selector.select(left):
                if isinstance(key.data, Caller):
                    self._hear(key.data)
                elif key.fileobj is not self._wake:
                    self._let_in(key.fileobj)  # type: ignore[arg-type]  # a door
            now = time.monotonic()
            for caller in [one for one in self._callers if one.until <= now]:
                self._hang_up(caller)
        for caller in list(self._callers):
            self._hang_up(caller)
        self._selector.close()
        for one in (*self._doors, self._wake):
            one.close()

    def _let_in(self, door: socket.socket) -> None:
        try:
            call, (source, *_) = door.accept()
        except OSError:  # it has hung up, or we have no descriptors left
            if self._callers:
                self._hang_up(self._callers[0])
            else:
                time.sleep(0.05)  # those that have proved themselves hold them all
            return
        caller = Caller(call, source, time.monotonic() + PROOF_S)
        self._callers.append(caller)
        if len(self._callers) > self._most:
            self._hang_up(self._superfluous())
        try:
            call.setblocking(False)
            call.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(call, selectors.EVENT_READ, caller)
            call.send(f"{caller.nonce}\n".encode())
        except (OSError, ValueError):
            self._hang_up(caller)

    def _superfluous(self) -> Caller:
        """The oldest caller of the address that most of them come from."""
        ((most, _),) = Counter(one.source for one in self._callers).most_common(1)
        return next(one for one in self._callers if one.source == most)

    def _hear(self, caller: Caller) -> None:
        try:
            data = caller.call.recv(MAX_PROOF)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        caller.heard += data
        found = channel.marked_line(caller.heard)
        if found is not None:
            self._judge(caller, *found)
        elif not data or len(caller.heard) > MAX_PROOF:
            self._hang_up(caller)

    def _judge(self, caller: Caller, line: bytes, rest: bytes) -> None:
        """Let in whoever proves the secret of an invitation for its name, once."""
        with self._news:
            for invited in self._invited:
                answer = channel.proved(line, rest, invited.secret, caller.nonce)
                if answer is None:
                    continue
                if answer.name in invited.names and not self._closed:
                    invited.names.discard(answer.name)
                    self._callers.remove(caller)
                    self._selector.unregister(caller.call)
                    caller.call.setblocking(True)
                    self._arrived[answer.name] = Arrived(
                        caller.call, invited.secret, caller.nonce, answer
                    )
                    self._news.notify_all()
                    return
                self._refuse(answer.name, caller.source)
        self._hang_up(caller)

    def _refuse(self, name: str, source: str) -> None:
        """Somebody who knows the secret, under a name that isn't free: that must not be silent."""
        text = f"a call from {source} as {name!r} was refused: nobody was expected by that name"
        if text not in self._said and len(self._said) < 20:
            self._said.add(text)
            self._say(text)

    def _hang_up(self, caller: Caller) -> None:
        if caller in self._callers:
            self._callers.remove(caller)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(caller.call)
        caller.call.close()


def _open_door(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.bind((address, 0))
        door.listen(BACKLOG)
    except OSError:
        door.close()
        raise
    return door


def addresses_towards(hosts: Sequence[str]) -> list[str]:
    """Our own addresses on the way to these hosts (names or addresses); no packet is sent.

    A loopback address is given only if nothing else leads to any of them.
    """
    found: dict[str, None] = {}
    for host in hosts:
        with contextlib.suppress(OSError):
            for family, _, _, _, place in socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM):
                with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
                    sock.connect(place)
                    found[sock.getsockname()[0]] = None
                    break
    outward = [a for a in found if not a.startswith("127.") and a != "::1"]
    return outward or list(found) or ["127.0.0.1"]
