"""Tests that no other of a kind may run beside, in whatever process of this machine.

A host of a testbed has no control group of its own, so a process that the kernel kills for memory
anywhere on the machine looks there like one of its own: the test that has one killed is `alone`,
those on real hosts are `beside_others`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(tempfile.gettempdir(), f"plaunch-tests-{os.getuid()}")


def beside_others() -> contextlib.AbstractContextManager[None]:
    """Run with others that say this, and not while one is alone."""
    return _held(fcntl.LOCK_SH)


def alone() -> contextlib.AbstractContextManager[None]:
    """Run while nobody is who says `beside_others`; no new one begins meanwhile."""
    return _held(fcntl.LOCK_EX)


@contextlib.contextmanager
def _held(how: int) -> Iterator[None]:
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with open(FOLDER / "queue", "w") as queue, open(FOLDER / "lock", "w") as lock:
        fcntl.flock(queue, fcntl.LOCK_EX)  # who waits for all others is not overtaken by new ones
        fcntl.flock(lock, how)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
