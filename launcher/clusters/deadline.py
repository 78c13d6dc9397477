"""A bound for code that waits and can't be told how long: something else ends its wait."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def deadline(seconds: float, act: Callable[[], object]) -> Iterator[threading.Event]:
    """Call ``act`` from another thread if the block has not ended after ``seconds``.

    The event that the block is given is set just before that.
    """
    passed = threading.Event()

    def too_late() -> None:
        passed.set()
        act()

    timer = threading.Timer(seconds, too_late)
    timer.daemon = True
    timer.start()
    try:
        yield passed
    finally:
        timer.cancel()
