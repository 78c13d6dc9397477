"""DataLoader workers that outlive the signals of a preemption.

A batch system signals every process of a job. A worker that ended there and then would fail the
training before it could save. Workers made here go on until their rank wants them no longer, or is
gone: torch's own watchdog in a worker looks for that every few seconds.
"""

from __future__ import annotations

import atexit
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from engine.runtime.coordination.signals import SIGNALS, is_listening
from engine.runtime.torch_internals.torch_parts import shutdown_of, worker_processes

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch, Loader

_iterators: weakref.WeakSet[Any] | None = None  # with workers of ours


def begin(loader: Loader) -> Iterator[Batch]:
    """`iter(loader)`; workers that it makes while a preemption is listened for are steady ones."""
    if not isinstance(loader, DataLoader) or not loader.num_workers or not is_listening():
        return iter(loader)
    own = loader.worker_init_fn
    loader.worker_init_fn = SteadyWorker(own)
    try:
        with _held(loader):
            iterator = iter(loader)
    finally:
        loader.worker_init_fn = own
    for worker in worker_processes(iterator):
        _end_by_kill(worker)
    _remember(iterator)
    return iterator


class SteadyWorker:
    """What a worker runs first: the signals do nothing from now on. Then the user's own."""

    def __init__(self, own: Callable[[int], None] | None) -> None:
        self.own = own

    def __call__(self, worker_id: int) -> None:
        """Begin the life of a worker."""
        if threading.current_thread() is threading.main_thread():  # a process, not a thread
            for number in SIGNALS:
                # A function, not SIG_IGN, which programs that the worker starts would inherit.
                signal.signal(number, _nothing)
                signal.siginterrupt(number, False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            atexit.register(_ignore)
        if self.own is not None:
            self.own(worker_id)


def _nothing(*_: object) -> None:
    """Do nothing."""


def _ignore() -> None:
    """At the end of a worker: an interpreter that ends forgets what functions signals had."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _held(loader: DataLoader[Any]) -> Iterator[None]:
    """Hold the signals back from processes that are made here, until they say what to do then."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        context = loader.multiprocessing_context or torch.multiprocessing
        if context.get_start_method() != "fork":
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # which lets go of SIGTERM when it starts something
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_by_kill(worker: Any) -> None:
    """Let `terminate()` be a kill: by SIGTERM such a worker is not ended."""
    process = getattr(worker, "_popen", None)
    if process is not None:
        process.terminate = process.kill


def _remember(iterator: Any) -> None:
    """Ask workers that are there at exit to end, before multiprocessing ends them its own way."""
    global _iterators
    if _iterators is None:
        _iterators = weakref.WeakSet()
        atexit.register(_end_all)
    _iterators.add(iterator)


def _end_all() -> None:
    for iterator in list(_iterators or ()):
        end = shutdown_of(iterator)
        if end is not None:
            end()
