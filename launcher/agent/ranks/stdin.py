"""The standard input of the only rank: what the controller passes on, written as it is taken.

The controller is asked for more when the rank waits for it (:mod:`launcher.agent.ranks.waits`).
"""

from __future__ import annotations

from launcher.agent.lowlevel import WRITE, Selector

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.agent.ranks.workers import Group
    from launcher.agent.system import System
    from launcher.core.protocol.messages import FromAgent

    Send = Callable[[FromAgent], None]

CHECK_EVERY_S = 0.2


class RankInput:
    """Bytes wait here until the rank is there and reads them."""

    def __init__(self, selector: Selector, system: System) -> None:
        self._selector, self._system = selector, system
        self._waiting = bytearray()
        self._over = self._asked = False
        self._fd: int | None = None
        self._check_at = 0.0

    def attach(self, fd: int) -> None:
        """The rank has started, and this is our end of its input."""
        self._fd = fd
        self._write()

    def feed(self, data: bytes, *, over: bool) -> None:
        """More input; ``over``: this was the last of it."""
        self._asked = False
        self._waiting += data
        self._over = over
        self._write()

    def ask(self, group: Group, is_python: bool, now: float, send: Send) -> None:
        """Ask the controller for so much input as the rank waits for, if it does.

        Where nobody can see whether it waits, all that there is is asked for.
        """
        if self._fd is None or self._asked or self._waiting or self._over or now < self._check_at:
            return
        self._check_at = now + CHECK_EVERY_S
        readers = group.readers(is_python)
        if not readers:
            return
        size, is_seen = self._system.requested_input(readers, self._fd)
        if size:
            self._asked = True
            send({"type": "want", "bytes": size, "always": not is_seen})

    def detach(self) -> None:
        """The rank has ended: its end of input is closed, what it did not read is dropped."""
        if self._fd is not None:
            if self._selector.action(self._fd) is not None:
                self._selector.unregister(self._fd)
            self._system.close(self._fd)
            self._waiting.clear()
        self._fd = None

    def _write(self) -> None:
        if self._fd is None:
            return
        try:
            while self._waiting:
                del self._waiting[: self._system.write(self._fd, self._waiting)]
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
