"""Our standard input, which the only rank reads: as it is, or passed on when it waits for it.

What the rank does not read stays unread: a shell loop around plaunch may read its list from there.
"""

from __future__ import annotations

import base64
import os
from queue import SimpleQueue
from typing import TYPE_CHECKING

from launcher.controller.agents.fleet import Fleet
from launcher.controller.system import Background

if TYPE_CHECKING:
    from launcher.core.protocol.messages import Want

MOST_BYTES = 1 << 16  # of one message


class RankStdin:
    """Passes input on to the rank. Of a terminal all that is typed, as it comes."""

    def __init__(self, fleet: Fleet, fd: int) -> None:
        self._fleet, self._fd = fleet, fd
        self._node = ""
        self._requested: SimpleQueue[int] = SimpleQueue()
        self._unasked = os.isatty(fd)
        self._thread: Background | None = None

    def attach(self, node: str) -> None:
        """The rank of this attempt is on this node."""
        self._node = node
        if self._unasked:
            self._begin()

    def want(self, message: Want) -> None:
        """The rank waits for input, or its agent can't see whether it does."""
        size = message.get("bytes")
        if isinstance(size, int) and 0 < size <= MOST_BYTES:
            self._unasked = self._unasked or message.get("always") is True
            self._requested.put(size)
            self._begin()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = self._fleet.system.begin(self._pass_on)

    def _pass_on(self) -> None:
        data = b"-"
        while data:
            size = MOST_BYTES if self._unasked else self._requested.get()
            try:
                data = os.read(self._fd, size)
            except OSError:
                data = b""
            text = base64.b64encode(data).decode()
            self._fleet.tell({"type": "stdin", "data": text, "over": not data}, [self._node])
