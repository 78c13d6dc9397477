"""The standard input of the only rank: what the controller passes on, written as it is taken."""

from __future__ import annotations

import os

from launcher.agent.plain import WRITE, Selector


class RankInput:
    """Bytes wait here until the rank is there and reads them."""

    def __init__(self, selector: Selector) -> None:
        self._selector = selector
        self._waiting = bytearray()
        self._over = False
        self._fd: int | None = None

    def attach(self, fd: int) -> None:
        """The rank has started, and this is our end of its input."""
        self._fd = fd
        self._write()

    def feed(self, data: bytes, *, over: bool) -> None:
        """More input; ``over``: this was the last of it."""
        self._waiting += data
        self._over = over
        self._write()

    def detach(self) -> None:
        """The rank has ended: its end of input is closed, what it did not read is dropped."""
        if self._fd is not None:
            if self._selector.action(self._fd) is not None:
                self._selector.unregister(self._fd)
            os.close(self._fd)
            self._waiting.clear()
        self._fd = None

    def _write(self) -> None:
        if self._fd is None:
            return
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._waiting.clear()
        registered = self._selector.action(self._fd) is not None
        if self._waiting and not registered:
            self._selector.register(self._fd, WRITE, self._write)
        elif not self._waiting and registered:
            self._selector.unregister(self._fd)
        if not self._waiting and self._over:
            self.detach()
