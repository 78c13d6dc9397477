"""Signals to the agent, and the ends of its children, which the kernel tells by a signal, too.

What a scheduler's signal means is the controller's to find out: it is only told of it.
"""

from __future__ import annotations

from launcher.agent.lowlevel import signal

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.agent.loop.attempts import Attempts
    from launcher.agent.system import System
    from launcher.agent.wire import Outgoing

NOTICES = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """``is_tethered``: the agent was started by a scheduler's process, which gets its signals."""

    def __init__(
        self,
        is_tethered: bool,
        attempts: Attempts,
        out: Outgoing,
        system: System,
        end: Callable[[int], None],
    ) -> None:
        self._is_tethered, self._attempts = is_tethered, attempts
        self._out, self._system, self._end = out, system, end
        self._wakeup = system.listen_to_signals((signal.SIGCHLD, signal.SIGINT, *NOTICES))

    def fileno(self) -> int:
        """For the selector."""
        return self._wakeup

    def receive(self) -> None:
        """Act on the signals that have come."""
        numbers = self._system.read(self._wakeup, 4096)
        for number in set(numbers) & set(NOTICES):
            # A scheduler signals every process of its job: what it means is the launcher's to find
            # out, and the ranks may have to save. Elsewhere it is meant for us.
            if self._is_tethered:
                self._out.send({"type": "notice", "number": number})
            elif number in (signal.SIGTERM, signal.SIGHUP):
                self._end(128 + signal.SIGTERM)
        self.reap()

    def reap(self) -> None:
        """Tell of the ranks among the children that have ended."""
        for pid, status, peak_kib in self._system.ended_children():
            # the fork server's end is seen on its socket
            self._attempts.on_exit(pid, status, peak_kib)
