"""A timer that all ranks share, without asking each other at every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class SharedTimer:
    """Fires on all ranks in the same step, once `interval_s` seconds have passed since it last did.

    Clocks differ between ranks, so rank zero's counts. With each answer it tells the others how
    many calls the next question can wait: about half of those that the rest of the interval takes.

    Args:
        interval_s: the interval in seconds.
        clock: a clock in seconds, for tests.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval_s = interval_s
        self._clock = clock
        self._to_skip = 0
        self.start()

    def start(self) -> None:
        """Begin an interval now."""
        self._began = self._clock()
        self._calls = 0
        self._to_skip = 0

    def is_due(self, broadcast: Callable[[Any], Any], is_rank_zero: bool) -> bool:
        """Whether the interval is over; every rank calls this equally often."""
        self._calls += 1
        if self._to_skip > 0:
            self._to_skip -= 1
            return False
        due, self._to_skip = broadcast(self._state() if is_rank_zero else None)
        if due:
            self.start()
        return bool(due)

    def _state(self) -> tuple[bool, int]:
        passed = self._clock() - self._began
        if passed >= self.interval_s:
            return True, 0
        calls_to_come = self._calls / max(passed, 1e-6) * (self.interval_s - passed)
        return False, int(min(calls_to_come / 2, self._calls))
