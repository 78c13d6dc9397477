"""The agent's streams: messages to the controller and from it, and what ranks report.

What the messages mean is decided elsewhere (launcher.agent.loop, ranks.reports).
"""

from __future__ import annotations

from launcher.agent.lowlevel import READ, SOCKET, WRITE, Selector
from launcher.core.protocol.frames import ChannelError, Decoder, encode

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from launcher.agent.lowlevel import socket
    from launcher.agent.system import System
    from launcher.core.protocol.messages import FromAgent

HIGH, LOW = 4 << 20, 1 << 20
MAX_LINES = 256  # of all ranks together, who need one or two each
MAX_FROM_RANK = (16 << 20) + 4096  # bytes of a message: a report may have 16 MiB


class Outgoing:
    """Messages to the controller, written as fast as it takes them, never waiting for it."""

    def __init__(
        self, fd: int, selector: Selector, system: System, key: bytes | None = None
    ) -> None:
        self._fd, self._selector, self._system = fd, selector, system
        self._seal: Callable[[bytes], bytes] = bytes
        if key is not None:
            from launcher.core.protocol.seal import Sealer

            self._seal = Sealer(key).seal
        self._buffer = bytearray()
        self._waiting = self.backed_up = False
        self.last = system.monotonic()
        system.set_blocking(fd, False)

    def send(self, message: FromAgent) -> None:
        """Queue a message and write what can be written now."""
        self._buffer += self._seal(encode(message))
        self.last = self._system.monotonic()
        self._write()

    def note(self, text: str) -> None:
        """A line for people."""
        self.send({"type": "note", "text": text})

    def _write(self) -> None:
        try:
            while self._buffer:
                del self._buffer[: self._system.write(self._fd, self._buffer[:65536])]
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
        give_up = self._system.monotonic() + timeout_s
        while self._buffer and self._system.monotonic() < give_up:
            self._system.wait_writable(self._fd, 0.1)
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
        system: System,
        deliver: Callable[[int, dict[str, Any]], None],
        complain: Callable[[int, str], None],
    ) -> None:
        self.path = f"{folder}/{SOCKET}"
        self.failed_path = f"{self.path}.failed"  # there while an attempt ends that has failed
        self._selector, self._system = selector, system
        self._deliver, self._complain = deliver, complain
        self._listener = system.listen_for_ranks(self.path)
        self._lines: dict[int, tuple[socket.socket, int, Decoder]] = {}
        self._held = False
        selector.register(self._listener.fileno(), READ, self._accept)

    def _accept(self) -> None:
        for _ in range(MAX_LINES):
            try:
                line, pid = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # there are no descriptors left
                if not self._let_one_go():
                    return
                continue
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
                if line.fileno() < 0 or not self._system.is_readable(line.fileno()):
                    break
                read()


def unpacked(text: str) -> bytes:
    """The bytes that a text in base64 stands for."""
    if not text:
        return b""
    import binascii

    return binascii.a2b_base64(text)
