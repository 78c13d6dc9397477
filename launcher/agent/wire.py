"""The agent's wires: what goes to the controller, and what comes from the ranks."""

from __future__ import annotations

import os
import select
import sys
import time

from launcher.agent.lowlevel import READ, SOCKET, WRITE, Selector, called, socket
from launcher.core.protocol.frames import ChannelError, Decoder, encode

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

HIGH, LOW = 4 << 20, 1 << 20
MAX_LINES = 256  # of all ranks together, who need one or two each
MAX_FROM_RANK = (16 << 20) + 4096  # bytes of a message: a report may have 16 MiB


class Outgoing:
    """Messages to the controller, written as fast as it takes them, never waiting for it."""

    def __init__(self, fd: int, selector: Selector, key: bytes | None = None) -> None:
        self._fd, self._selector = fd, selector
        self._seal: Callable[[bytes], bytes] = bytes
        if key is not None:
            from launcher.core.protocol.seal import Sealer

            self._seal = Sealer(key).seal
        self._buffer = bytearray()
        self._waiting = self.backed_up = False
        self.last = time.monotonic()
        os.set_blocking(fd, False)

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message and write what can be written now."""
        self._buffer += self._seal(encode(message))
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


class Incoming:
    """Messages from the controller; with a ``key`` only those that are proved to be its own."""

    def __init__(self, key: bytes | None = None) -> None:
        self._decoder = Decoder()
        self._open: Callable[[bytes], bytes] = bytes
        if key is not None:
            from launcher.core.protocol.seal import Opener

            self._open = Opener(key).open

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Add ``data`` and yield the messages that are complete now. Raises ChannelError."""
        return self._decoder.feed(self._open(data))


class RankLines:
    """The unix socket on which ranks talk to their agent; whoever calls is known by process id.

    A line that says what no rank says is closed; ``complain`` hears why. However many lines one
    process opens, the others keep theirs.
    """

    def __init__(
        self,
        folder: str,
        selector: Selector,
        deliver: Callable[[int, dict[str, Any]], None],
        complain: Callable[[int, str], None],
    ) -> None:
        self.path = f"{folder}/{SOCKET}"
        self.failed_path = f"{self.path}.failed"  # there while an attempt ends that has failed
        self._selector, self._deliver, self._complain = selector, deliver, complain
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self._lines: dict[int, tuple[socket.socket, int, Decoder]] = {}
        self._held = False
        selector.register(self._listener.fileno(), READ, self._accept)

    def _accept(self) -> None:
        for _ in range(MAX_LINES):
            try:
                line = called(self._listener)
            except BlockingIOError:
                return
            except OSError:  # there are no descriptors left
                if not self._let_one_go():
                    return
                continue
            line.setblocking(False)
            credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid = int.from_bytes(credentials[:4], sys.byteorder)  # then the user's and group's
            self._lines[line.fileno()] = (line, pid, Decoder(MAX_FROM_RANK))
            if not self._held:
                self._selector.register(line.fileno(), READ, self._reader(line))
            if len(self._lines) > MAX_LINES:
                self._let_one_go()

    def _let_one_go(self) -> bool:
        """Close the oldest line of whoever has the most; False if there is none."""
        counts: dict[int, int] = {}
        for _, pid, _ in self._lines.values():
            counts[pid] = counts.get(pid, 0) + 1
        if not counts:
            return False
        most = max(counts, key=lambda pid: counts[pid])
        fd = next(fd for fd, (_, pid, _) in self._lines.items() if pid == most)
        self._close(fd)
        return True

    def _close(self, fd: int) -> None:
        if self._selector.action(fd) is not None:
            self._selector.unregister(fd)
        line, _, _ = self._lines.pop(fd)
        line.close()

    def hold(self, held: bool) -> None:
        """Hear no rank while the controller does not keep up, or hear them again."""
        if held == self._held:
            return
        self._held = held
        for fd, (line, _, _) in self._lines.items():
            if held:
                self._selector.unregister(fd)
            else:
                self._selector.register(fd, READ, self._reader(line))

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
            except ChannelError as error:
                self._complain(pid, str(error))
                data = b""
            except OSError:
                data = b""
            if not data:
                self._close(fd)

        return read

    def drain(self) -> None:
        """Read all that has been sent so far, also by ranks that have ended since."""
        self._accept()
        for line, _, _ in list(self._lines.values()):
            read = self._reader(line)
            for _ in range(64):  # a child of a rank that talks for ever must not hold us
                if line.fileno() < 0 or not _is_readable(line.fileno()):
                    break
                read()


def _is_readable(fd: int) -> bool:
    poll = select.poll()  # unlike select it takes any descriptor
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def unpacked(text: str) -> bytes:
    """The bytes that a text in base64 stands for."""
    if not text:
        return b""
    import binascii

    return binascii.a2b_base64(text)
