"""The signals of a preemption, and what they leave behind.

A scheduler or launcher warns by a signal, and so does a terminal that is closed. Python runs a
signal's function between any two lines of the program, so it only records the signal; the
training checks for that after each optimizer step.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from engine.runtime.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Preemption:
    """The name of the first preemption signal that this process received, None before.

    It stays for the life of the process: a program with several fits stops in the next one.
    """

    def __init__(self) -> None:
        self.signal: str | None = None


preemption = Preemption()
_taken: tuple[int, ...] = ()  # the signals that are noted now


def is_listening() -> bool:
    """Whether a signal would only be noted just now."""
    return bool(_taken)


@contextmanager
def listening(enabled: bool, stays: bool = False) -> Iterator[None]:
    """Note the signals instead of being ended by them; afterwards all is as it was before.

    With `stays` the process goes on to note them until it ends: a run that is over in time, or goes
    on to its next part, should not fail for a warning. After a preemption signals are ignored: the
    process is on its way out, and the next signal must not change how it ends.
    """
    global _taken
    before: dict[int, Any] = {}
    # Only the main thread may set what a signal does.
    if enabled and not _taken and threading.current_thread() is threading.main_thread():
        before = {number: function[0] for number in SIGNALS if (function := _replaceable(number))}
        _taken = tuple(before)
        set_all({number: _noting(function) for number, function in before.items()})
    after = before
    if stays and before:
        # When an interpreter ends, it forgets what functions signals had.
        atexit.register(set_all, dict.fromkeys(before, signal.SIG_IGN))
        after = {}
    try:
        yield
    except Preempted:
        after = dict.fromkeys(_taken, signal.SIG_IGN)
        raise
    finally:
        if after:
            _taken = ()
            set_all(after)


def set_all(functions: Mapping[int, Any]) -> None:
    """Set what signals do."""
    for number, function in functions.items():
        signal.signal(number, function)


def _replaceable(number: int) -> tuple[Any] | None:
    """What a signal does now, in a tuple; None where it is better left alone.

    That is a signal that the program ignores, and one whose function is not Python's, as
    faulthandler's: it could not be put back.
    """
    function = signal.getsignal(number)
    if function is None or function == signal.SIG_IGN:
        return None
    if function == signal.SIG_DFL and _is_caught(number):
        return None
    return (function,)


def _is_caught(number: int) -> bool:
    """Whether the kernel calls a function of this process for a signal."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            masks = [line.split()[1] for line in status if line.startswith("SigCgt:")]
    except OSError:  # no Linux
        return False
    return bool(masks) and bool(int(masks[0], 16) >> (number - 1) & 1)


def has_failed() -> bool:
    """Whether the launcher ends this process because another rank has failed: no preemption."""
    path = os.environ.get("PLAUNCH_SOCKET")
    return path is not None and os.path.exists(f"{path}.failed")


def _noting(previous: Any) -> Any:
    """A signal's function: note it, then do what the program itself wants done."""
    owner = os.getpid()

    def note(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A process that the program has forked: the signal is its own matter.
            signal.signal(number, previous)
            os.kill(os.getpid(), number)
            return
        if has_failed():
            # Saving would wait for a rank that is gone. The program ends as it would without us,
            # or as by sys.exit(): its `finally` blocks and `atexit` run.
            signal.signal(number, previous)
            if callable(previous):
                previous(number, frame)
                return
            raise SystemExit(128 + number)
        preemption.signal = preemption.signal or signal.Signals(number).name
        if callable(previous):
            previous(number, frame)

    return note
