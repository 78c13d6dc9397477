"""The agent's wires: what goes to the controller, and what comes from the ranks."""

from __future__ import annotations

import os
import select
import sys
import time

from launcher.agent.plain import READ, SOCKET, WRITE, Selector, called, socket, suppress
from launcher.frames import ChannelError, Decoder, encode

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HIGH, LOW = 4 << 20, 1 << 20


class Outgoing:
    """Messages to the controller, written as fast as it takes them, never waiting for it."""

    def __init__(self, fd: int, selector: Selector) -> None:
        self._fd, self._selector = fd, selector
        self._buffer = bytearray()
        self._waiting = self.backed_up = False
        self.last = time.monotonic()
        os.set_blocking(fd, False)

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message and write what can be written now."""
        self._buffer += encode(message)
        self.last = time.monotonic()
        self._write()

    def _write(self) -> None:
        try:
            while self._buffer:
                del self._buffer[: os.write(self._fd, self._buffer[:65536])]
        except BlockingIOError:
            pass
        except OSError:
            self._buffer.clear()  # the controller is gone: its end of our input will say so
        if bool(self._buffer) != self._waiting:
            self._waiting = not self._waiting
            if self._waiting:
                self._selector.register(self._fd, WRITE, self._write)
            else:
                self._selector.unregister(self._fd)
        self.backed_up = len(self._buffer) > (LOW if self.backed_up else HIGH)

    def flush(self, timeout_s: float) -> None:
        """Try to get everything out before the end."""
        give_up = time.monotonic() + timeout_s
        while self._buffer and time.monotonic() < give_up:
            select.select([], [self._fd], [], 0.1)
            self._write()


class RankLines:
    """The unix socket on which ranks talk to their agent; whoever calls is known by process id."""

    def __init__(
        self,
        folder: str,
        selector: Selector,
        deliver: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self.path = f"{folder}/{SOCKET}"
        self._selector, self._deliver = selector, deliver
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self._lines: dict[int, tuple[socket.socket, int, Decoder]] = {}
        selector.register(self._listener.fileno(), READ, self._accept)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line = called(self._listener)
                line.setblocking(False)
                credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                pid = int.from_bytes(credentials[:4], sys.byteorder)  # then the user's and group's
                self._lines[line.fileno()] = (line, pid, Decoder())
                self._selector.register(line.fileno(), READ, self._reader(line))

    def _reader(self, line: socket.socket) -> Callable[[], None]:
        fd = line.fileno()

        def read() -> None:
            _, pid, decoder = self._lines[fd]
            try:
                data = line.recv(1 << 20)
                for message in decoder.feed(data):
                    self._deliver(pid, message)
            except BlockingIOError:
                return
            except (OSError, ChannelError, ValueError):
                data = b""
            if not data:
                self._selector.unregister(fd)
                del self._lines[fd]
                line.close()

        return read

    def drain(self) -> None:
        """Read all that has been sent so far, also by ranks that have ended since."""
        self._accept()
        for line, _, _ in list(self._lines.values()):
            read = self._reader(line)
            while line.fileno() >= 0 and select.select([line], [], [], 0)[0]:
                read()


def unpacked(text: str) -> bytes:
    """The bytes that a text in base64 stands for."""
    if not text:
        return b""
    import binascii

    return binascii.a2b_base64(text)
