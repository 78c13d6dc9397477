"""Nodes that call back: for clusters whose transport carries no byte stream of its own.

The launcher opens doors (listening sockets) on its own addresses. Whatever starts the node's side
(an srun step, a Ray actor) hands it an invitation on its standard input: the job's secret and the
doors. Nobody who can't prove the secret gets past the door, and nothing is run before both sides
have proved it. The channel is authenticated, not encrypted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

from launcher import channel
from launcher.clusters.base import NodeError, last_line
from launcher.frames import ChannelError

PROOF_S = 10.0  # for a caller to prove that it knows the secret
BACKLOG = 512


class DialledStream:
    """A node's call that has been taken, as a stream."""

    def __init__(
        self,
        call: socket.socket,
        secret: str,
        answer: channel.Answer,
        wait: Callable[[float], int | None],
        errors: Callable[[], str],
    ) -> None:
        self._call, self._secret, self._answer = call, secret, answer
        self._wait, self._errors = wait, errors

    def admit(self, cargo: channel.Cargo) -> bytes:
        """Let the agent in: our proof and its code. Returns what it has said since its proof."""
        self.write(channel.admission(self._secret, self._answer, cargo(self._answer.python)))
        return self._answer.rest

    def read(self, size: int) -> bytes:
        """Wait for data; empty when the other side has gone, and after ``close``."""
        try:
            return self._call.recv(size)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the other side has gone."""
        self._call.sendall(data)

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


class Reception:
    """The launcher's doors, and who has come in."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._secret = os.urandom(32).hex()
        self._doors: list[socket.socket] = []
        self._arrived: dict[str, tuple[socket.socket, channel.Answer]] = {}
        self._news = threading.Condition()
        self._closed = False
        problem: OSError | None = None
        for address in addresses:
            try:
                self._doors.append(_open_door(address))
            except OSError as error:
                problem = error
        if not self._doors:
            raise problem or OSError("there is no address to listen on")
        for door in self._doors:
            threading.Thread(target=self._attend, args=(door,), daemon=True).start()

    def invitation(self, name: str) -> bytes:
        """What the dialler reads from its standard input. ``$X`` as a name: its variable X."""
        doors = []
        for door in self._doors:
            address, port = door.getsockname()[:2]
            doors.append(f"{address}:{port}")
        return f"{self._secret} {name} {' '.join(doors)}\n".encode()

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
            call, answer = self._arrived.pop(name)
        return DialledStream(call, self._secret, answer, wait, errors)

    def close(self) -> None:
        """Close all doors, and hang up on whoever came and was not asked for."""
        with self._news:
            self._closed = True
            waiting, self._arrived = self._arrived, {}
            self._news.notify_all()
        for door in self._doors:
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits at it
            door.close()
        for call, _ in waiting.values():
            call.close()

    def _attend(self, door: socket.socket) -> None:
        while True:
            try:
                call, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=self._examine, args=(call,), daemon=True).start()

    def _examine(self, call: socket.socket) -> None:
        """Let in whoever proves the secret in time."""
        nonce = os.urandom(16).hex()
        try:
            call.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            call.settimeout(PROOF_S)
            call.sendall(f"{nonce}\n".encode())
            answer = channel.hear_proof(call.recv, self._secret, nonce)
            call.settimeout(None)
        except (OSError, ChannelError):
            call.close()
            return
        with self._news:
            if self._closed:
                call.close()
                return
            former = self._arrived.pop(answer.name, None)
            self._arrived[answer.name] = (call, answer)
            self._news.notify_all()
        if former is not None:
            former[0].close()


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
