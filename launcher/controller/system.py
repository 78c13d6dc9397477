"""Time, threads and standard input as the controller uses them. It decides nothing.

The fleet has a :class:`System` as an argument, and all that follows a run takes it from there; so
another one, with a clock of its own and no threads, can drive the same code.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Background(Protocol):
    """Work that goes on in the background, such as a thread."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most so long."""
        ...

    def is_alive(self) -> bool:
        """Whether it still goes on."""
        ...


class System:
    """This process."""

    monotonic = staticmethod(time.monotonic)
    unix_time = staticmethod(time.time)

    def begin(self, work: Callable[[], None]) -> Background:
        """Do ``work`` in the background."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def in_parallel(
        self, work: Callable[[Item], Outcome], items: Sequence[Item], limit: int
    ) -> list[Outcome]:
        """Do ``work`` on every item, at most ``limit`` at once; outcomes in the items' order.

        Plain threads: importing a pool takes longer than starting one local agent does.
        """
        if len(items) == 1:
            return [work(items[0])]
        room = threading.Semaphore(limit)
        outcomes: dict[int, Outcome] = {}
        errors: list[BaseException] = []

        def one(index: int) -> None:
            with room:
                try:
                    outcomes[index] = work(items[index])
                except BaseException as error:  # raised again where it can be caught
                    errors.append(error)

        threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(items))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return [outcomes[index] for index in range(len(items))]

    def stdin(self) -> int | None:
        """The descriptor of our standard input; None if there is none that a rank could read."""
        try:
            fd = sys.stdin.fileno()
            if os.isatty(fd) and os.tcgetpgrp(fd) != os.getpgrp():
                return None  # in the background: reading would stop us
            os.fstat(fd)
        except (OSError, ValueError, AttributeError):
            return None
        return fd


THIS_PROCESS = System()
