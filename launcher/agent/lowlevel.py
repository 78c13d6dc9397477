"""The standard library's inner modules, without the outer ones.

Importing socket, signal, selectors and contextlib (which need enum, re and functools) takes three
times as long as all else that an agent does before it is at work, and every start waits for it.
"""

from __future__ import annotations

import select

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
else:
    try:
        import _signal as signal
        import _socket as socket
    except ImportError:  # not every make of Python has them
        import signal
        import socket

__all__ = ["SOCKET", "Selector", "called", "signal", "socket", "suppress"]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
SOCKET = "agent.sock"  # of the ranks, in the run's private folder


class suppress:
    """As contextlib's."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, self._kinds)


class Selector:
    """Waits for whichever of several files is ready; each has an action that belongs to it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._actions: dict[int, Callable[[], None]] = {}

    def register(self, fd: int, event: int, action: Callable[[], None]) -> None:
        """Wait for a file, too: until it can be read, or written."""
        self._epoll.register(fd, event)
        self._actions[fd] = action

    def unregister(self, fd: int) -> None:
        """Wait for a file no more; raises KeyError if nobody did."""
        del self._actions[fd]
        with suppress(OSError):  # it was closed already
            self._epoll.unregister(fd)

    def action(self, fd: int) -> Callable[[], None] | None:
        """The action of a file that is waited for."""
        return self._actions.get(fd)

    def wait(self, timeout_s: float) -> list[tuple[int, Callable[[], None]]]:
        """The files that are ready, with their actions; none after the timeout."""
        ready = self._epoll.poll(timeout_s, max(len(self._actions), 1))
        return [(fd, self._actions[fd]) for fd, _ in ready if fd in self._actions]


def called(line: socket.socket) -> socket.socket:
    """Take a call on a listening socket."""
    fd, _ = line._accept()  # type: ignore[attr-defined]  # what accept() is made of
    return socket.socket(fileno=fd)
