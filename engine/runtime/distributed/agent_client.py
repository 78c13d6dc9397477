"""What a rank tells its agent, where there is one: progress now and then, results at the end.

`PLAUNCH_SOCKET` is the path of a unix stream socket. A frame is a length of four bytes, big-endian,
and that many bytes of JSON. Training goes on whatever happens to the socket.
"""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

EVERY_S = 1.0
_TIMEOUT_S = 2.0


class Line:
    """One connection to the agent, made when there is something to say."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._due = 0.0

    @property
    def is_open(self) -> bool:
        """Whether anybody listens, as far as we know."""
        return self._path is not None

    def progress(self, step: int, epoch: int, checkpoint: str | None = None) -> None:
        """Tell how far the run is, at most once a second; a checkpoint is always told."""
        now = time.monotonic()
        if checkpoint is None and now < self._due:
            return
        self._due = now + EVERY_S
        self.send({"type": "progress", "step": step, "epoch": epoch, "checkpoint": checkpoint})

    def failed(self, step: int, epoch: int) -> None:
        """Tell where the run fails, which the last progress need not have reached."""
        self.send({"type": "progress", "step": step, "epoch": epoch, "failed": True})

    def report(self, value: dict[str, Any]) -> None:
        """Tell what came out; it replaces what was told before. NaN, not in JSON, goes beside."""
        odd = {
            name: repr(number)
            for name, number in value.items()
            if isinstance(number, float) and not math.isfinite(number)
        }
        message = {"type": "report", "by": "engine", "value": finite_or_none(value)}
        self.send({**message, "not_finite": odd})

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame; nobody there is no error."""
        if self._path is None:
            return
        body = json.dumps(message, allow_nan=False).encode()
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(_TIMEOUT_S)
                self._socket.connect(self._path)
            self._socket.sendall(struct.pack(">I", len(body)) + body)
        except OSError:
            self.close()
            self._path = None  # gone for good: never wait for it again

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_line: Line | None = None


def line() -> Line:
    """The line of this process, one for all trainers in it."""
    global _line
    path = os.environ.get("PLAUNCH_SOCKET")
    if _line is None or (path is not None and _line._path not in (path, None)):
        _line = Line(path)
    return _line


def finite_or_none(value: Any) -> Any:
    """Plain JSON data: NaN and infinities become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return value
