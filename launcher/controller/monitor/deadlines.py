"""When the ranks of an attempt are asked to end, killed, or given up: moments, set and moved. Pure.

What is done when a moment has come, the monitor does.
"""

from __future__ import annotations

from dataclasses import dataclass

ENDING_S = 15.0  # for an agent to say that nothing is left, after its ranks had to be gone
EARLY_S = 3.0  # between a rank's good end and the others': so much is usual


@dataclass
class Deadlines:
    """Moments of the monotonic clock; None where nothing is to happen."""

    timeout: float | None  # the run's
    stop: float | None = None  # ranks are asked to end, of a run that has failed
    kill: float | None = None
    give_up: float | None = None
    early_end: float | None = None  # when the first good end is an early one
    is_ending: bool = False  # the ranks were asked, or killed
    _has_early_end: bool = False

    @property
    def end_is_settled(self) -> bool:
        """Whether the ranks are ending, or will be in a moment."""
        return self.is_ending or self.stop is not None or self.kill is not None

    def wait_s(self, now: float, longest: float, other: float | None) -> float:
        """How long nothing has to be done; ``other`` is somebody else's moment."""
        mine = (self.timeout, self.stop, self.kill, self.give_up, self.early_end, other)
        return min([longest, *(moment - now for moment in mine if moment is not None)])

    def stop_at(self, moment: float) -> None:
        """Ask the ranks to end then, or sooner if that was said before."""
        if not self.is_ending and (self.stop is None or moment < self.stop):
            self.stop = moment

    def kill_at(self, moment: float) -> None:
        """Kill the ranks then, or sooner if that was said before."""
        if self.kill is None or moment < self.kill:
            self.kill = moment

    def end_asked(self, now: float, grace_s: float) -> None:
        """The ranks have been asked to end, or killed."""
        self.stop, self.is_ending = None, True
        self.give_up = now + grace_s + ENDING_S

    def good_end(self, now: float) -> None:
        """A rank has ended well: if it was the first, the others are looked at in a moment."""
        if not self._has_early_end:
            self._has_early_end = True
            self.early_end = now + EARLY_S
