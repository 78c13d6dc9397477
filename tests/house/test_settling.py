"""Gloo's threads settle before a process group ends: the launcher's way and the engine's."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

import pytest

from engine.runtime.distributed import gloo_threads
from launcher.agent.ranks import torch_parts

SET_NAME = 15  # PR_SET_NAME
BUSY_S = 0.3


@pytest.mark.parametrize("settle", [gloo_threads.settle, torch_parts.settle])
def test_a_thread_that_has_work_left_is_waited_for(settle: Callable[[], object]) -> None:
    """One by the name of gloo's that needs the interpreter's lock again and again is done when the
    group may end; one that is idle is not waited for.
    """
    begun, done, leave = threading.Event(), threading.Event(), threading.Lock()

    def work() -> None:
        ctypes.CDLL(None).prctl(SET_NAME, gloo_threads.NAME.encode(), 0, 0, 0)
        begun.set()
        end = time.monotonic() + BUSY_S
        while time.monotonic() < end:
            pass
        done.set()
        leave.acquire()  # idle, as gloo's threads are, without a deadline of their own

    leave.acquire()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        assert begun.wait(30)
        settle()
        assert done.is_set()
        assert thread.is_alive()
    finally:
        leave.release()
        thread.join(30)
