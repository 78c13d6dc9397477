"""The agent's end of the fork server."""

from __future__ import annotations

import array
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.agent import processes
from launcher.channel import Decoder, encode


class ForkServer:
    """A started fork server. It answers in its own time; orders may be sent before it is ready."""

    def __init__(
        self,
        python: str,
        sources: tuple[str, str],
        modules: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        serve = processes.SERVE.format(sock=theirs.fileno(), modules=list(modules))
        self._errors = tempfile.TemporaryFile()
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self.pid = processes.spawn_python(
                python,
                (*sources, serve),
                env,
                (null, null, self._errors.fileno()),
                cwd,
                (theirs.fileno(),),
            )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(null)
            theirs.close()
        self._sock = ours
        self._decoder = Decoder()
        self.found = self.ready = False
        self.closed = False

    def fileno(self) -> int:
        """For the agent's selector."""
        return self._sock.fileno()

    def send(self, order: dict[str, Any], fds: Sequence[int]) -> None:
        """Send an order with file descriptors beside it."""
        frame = encode({**order, "fds": len(fds)})
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            sent = self._sock.sendmsg([frame], ancillary if fds else [])
            self._sock.sendall(frame[sent:])
        except OSError:
            self.closed = True

    def receive(self) -> Iterator[dict[str, Any]]:
        """The messages that are there now."""
        try:
            data = self._sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.closed = True
        for message in self._decoder.feed(data):
            self.found = True
            if message["op"] == "ready":
                self.ready = True
            yield message

    def last_words(self) -> str:
        """What it wrote to its standard error: why it could not start."""
        self._errors.seek(0)
        text = self._errors.read()[-4000:].decode(errors="replace").strip()
        return text.splitlines()[-1] if text else "python ended before it was ready"
