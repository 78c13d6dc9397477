"""Whether this process can be forked, and what is done so that it can."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

_PAUSE_HARD = 2  # omp_pause_hard, of OpenMP 5.0
_AUTOGRAD = "autograd threads of this process run already, which a fork would not have"


def why_not_fork(uses_cuda: bool) -> str | None:
    """Why ranks can't be forked from here, in words that follow "since"; None if they can."""
    if not hasattr(os, "fork"):
        return "this system has no fork"
    if multiprocessing.current_process().daemon:
        return "this is a daemonic process, which multiprocessing lets have no children"
    if any(name.startswith("pt_autograd") for name in _thread_names()):
        return _AUTOGRAD
    if uses_cuda and not _cuda_works_in_a_fork():
        return "CUDA is in use in this process, and a fork of it can't use CUDA"
    return None


def threads_are_quiet() -> bool:
    """End the idle threads that OpenMP keeps for this one; whether a fork can have its own then.

    A fork has none of them, but would wait for them for ever.
    """
    if not _has_native_threads():
        return True
    with suppress(AttributeError, OSError):
        pause: Callable[[int], int] = ctypes.CDLL(None).omp_pause_resource_all
        return pause(_PAUSE_HARD) == 0
    return False


def _thread_names() -> list[str]:
    """The names of all threads of this process, as the system has them; none but on Linux."""
    names = []
    with suppress(OSError):
        for number in os.listdir("/proc/self/task"):
            with suppress(OSError), open(f"/proc/self/task/{number}/comm", "rb") as file:
                names.append(file.read().decode(errors="replace").strip())
    return names


def _has_native_threads() -> bool:
    from threading import enumerate as of_python

    return sys.platform != "linux" or len(_thread_names()) > len(of_python())


def _cuda_works_in_a_fork() -> bool:
    """Ask a fork: that the driver has begun, as `torch.cuda.is_available()` does, shows there."""
    begun: Callable[[], bool] = torch.cuda.is_initialized
    if begun():
        return False
    asks: Any = getattr(torch.cuda, "_is_in_bad_fork", None)
    if asks is None:
        return True
    pid = os.fork()
    if pid == 0:
        os._exit(int(bool(asks())))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
