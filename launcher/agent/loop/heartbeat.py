"""Signs of life: ours to the controller and the guard, and the controller's to us.

It says when the controller has been silent for too long; what follows is the loop's to do.
"""

from __future__ import annotations

from launcher.agent.lowlevel import suppress
from launcher.agent.node import pulse

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from launcher.agent.system import System
    from launcher.agent.wire import Outgoing

HEARTBEAT_S = 1.0
PAUSE_S = 3.0  # after so long a pause of our own, the controller's silence is counted anew


class Heartbeat:
    """``pulse_fd`` leads to the guard; ``silence_s`` is how long the controller may be silent."""

    def __init__(self, out: Outgoing, pulse_fd: int, silence_s: float, system: System) -> None:
        self._out, self._pulse_fd = out, pulse_fd
        self._silence_s, self._system = silence_s, system
        self._heard_at = self._last_turn = system.monotonic()
        self._guard_told_at = 0.0

    def controller_heard(self) -> None:
        """Something has come from the controller."""
        self._heard_at = self._system.monotonic()

    def tell_guard_at_once(self) -> None:
        """Not only in a second: what it is to be told has changed."""
        self._guard_told_at = 0.0

    def turn(self, now: float, *, has_ranks: bool) -> None:
        """Give the signs of life that are due."""
        if now - self._last_turn > PAUSE_S:
            self._heard_at = now
        self._last_turn = now
        if now - self._out.last > HEARTBEAT_S:
            self._out.send({"type": "beat"})
        if now - self._guard_told_at > HEARTBEAT_S:
            self._guard_told_at = now
            with suppress(OSError):
                self._system.write(self._pulse_fd, pulse.AT_WORK if has_ranks else pulse.IDLE)

    def controller_is_silent(self, now: float) -> bool:
        """Whether nothing has come for so long that the controller must be taken for gone."""
        return now - self._heard_at > self._silence_s
