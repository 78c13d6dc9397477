"""Our standard input, which the only rank reads: as it is, or passed on when it waits for it.

What the rank does not read stays unread: it may be the list that the loop around us reads.
"""

from __future__ import annotations

import base64
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any

from launcher.controller.agents.fleet import Fleet

MOST_BYTES = 1 << 16  # at once


def own_stdin() -> int | None:
    """The descriptor of our standard input; None if there is none that a rank could read."""
    try:
        fd = sys.stdin.fileno()
        if os.isatty(fd) and os.tcgetpgrp(fd) != os.getpgrp():
            return None  # in the background: reading would stop us
        os.fstat(fd)
    except (OSError, ValueError, AttributeError):
        return None
    return fd


class RankStdin:
    """Passes input on to the rank. Of a terminal all that is typed, as it comes."""

    def __init__(self, fleet: Fleet, fd: int) -> None:
        self._fleet, self._fd = fleet, fd
        self._node = ""
        self._wanted: SimpleQueue[int] = SimpleQueue()
        self._unasked = os.isatty(fd)
        self._thread: threading.Thread | None = None

    def attach(self, node: str) -> None:
        """The rank of this attempt is on this node."""
        self._node = node
        if self._unasked:
            self._begin()

    def want(self, message: dict[str, Any]) -> None:
        """The rank waits for input, or its agent can't see whether it does."""
        size = message.get("bytes")
        if isinstance(size, int) and 0 < size <= MOST_BYTES:
            self._unasked = self._unasked or message.get("always") is True
            self._wanted.put(size)
            self._begin()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._pass_on, daemon=True)
            self._thread.start()

    def _pass_on(self) -> None:
        data = b"-"
        while data:
            size = MOST_BYTES if self._unasked else self._wanted.get()
            try:
                data = os.read(self._fd, size)
            except OSError:
                data = b""
            text = base64.b64encode(data).decode()
            self._fleet.tell({"type": "stdin", "data": text, "over": not data}, [self._node])
