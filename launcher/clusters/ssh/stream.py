"""The standard input and output of a program on an SSH host."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import paramiko

from launcher.clusters.ssh.session import Session

_KEPT_ERRORS = 10_000


class SshStream:
    """A program's stream; `close` lets go of everything at once, even when the cable is cut.

    Writes are done by a thread of the stream's own: deep in paramiko, on a connection shared with
    other nodes over a jump host, a write may wait for a cable for as long as it is cut.
    """

    def __init__(self, channel: paramiko.Channel, hang_up: Callable[[], None]) -> None:
        assert isinstance(channel.transport, Session)
        self._channel, self._session, self._hang_up = channel, channel.transport, hang_up
        self._closed = threading.Event()
        self._one_writer = threading.Lock()
        self._to_write: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._errors = bytearray()
        self._drain = threading.Thread(target=self._drain_errors, daemon=True)
        self._drain.start()
        threading.Thread(target=self._write_all, daemon=True).start()

    def read(self, size: int) -> bytes:
        """Wait for data and return at most ``size`` bytes; empty when the other side has gone."""
        try:
            return self._channel.recv(size)
        except (paramiko.SSHException, OSError, EOFError):
            return b""

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the other side has gone."""
        with self._one_writer:
            if self._closed.is_set():
                raise BrokenPipeError("the connection is closed")
            self._to_write.put(data)
            error = self._written.get()
        if error is not None:
            raise BrokenPipeError(f"the connection is gone: {error}")

    def errors(self) -> str:
        """What the program has written to its standard error so far (its last 10 kB)."""
        if self._channel.closed or self._channel.eof_received:
            self._drain.join(1)
        return self._errors.decode(errors="replace")

    def wait(self, timeout_s: float) -> int | None:
        """Exit code of the program (negative: a signal), or None if unknown after the timeout."""
        self._channel.status_event.wait(timeout_s)
        number = self._session.exit_signals.get(self._channel.chanid)
        if number is not None:
            return -number
        code = self._channel.exit_status
        return None if code < 0 else code

    def close(self) -> None:
        """Close both directions; a program that reads from it sees the end."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._written.put(BrokenPipeError("closed"))  # for a writer that waits
        self._to_write.put(None)
        self._hang_up()

    def _write_all(self) -> None:
        for data in iter(self._to_write.get, None):
            try:
                self._channel.sendall(data)
            except (paramiko.SSHException, OSError, EOFError) as error:
                self._written.put(error)
            else:
                self._written.put(None)

    def _drain_errors(self) -> None:
        """Read the standard error, or the program would stand still with its window full."""
        try:
            while data := self._channel.recv_stderr(65536):
                self._errors = (self._errors + data)[-_KEPT_ERRORS:]
        except (paramiko.SSHException, OSError, EOFError):
            pass  # the reader and the writer hear of it too
