"""Starting ranks as children, showing what they print, and waiting for all of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from engine.runtime.coordination.signals import preemption
from engine.trainer.children.rank import Files, Job, forked

LOOK_EVERY_S = 0.05
GRACE_S = 5.0  # of the others, once a rank has failed
INTERRUPT_GRACE_S = 20.0  # after Ctrl-C, to save; a second one ends all at once

_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from engine.trainer.children.rank import spawned
spawned(*map(int, sys.argv[2:]))
"""


@dataclass
class Child:
    """A rank's process, and the files that it writes to."""

    rank: int
    pid: int
    poll: Callable[[], int | None]  # the exit code, -n for a signal, None while it runs
    files: Files
    code: int | None = None
    ended_at: float = 0.0
    was_killed: bool = False  # by us, because another one had failed


class Relay:
    """Shows what the ranks print where this process's own prints go, such as in a notebook."""

    def __init__(self) -> None:
        # A program's own stream, or a terminal: what the ranks inherit leads to the same place.
        self.is_needed = sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__
        self._selector = selectors.DefaultSelector()

    def pipes(self) -> tuple[int, int] | None:
        """The ends to write to, of a rank's stdout and stderr; None where it inherits them."""
        if not self.is_needed:
            return None
        ends = []
        for name in ("stdout", "stderr"):
            read, write = os.pipe()
            os.set_blocking(read, False)
            decoder = getincrementaldecoder("utf-8")(errors="replace")
            self._selector.register(read, selectors.EVENT_READ, (name, decoder))
            ends.append(write)
        return ends[0], ends[1]

    def pass_on(self, wait_s: float) -> bool:
        """Show what has come, waiting so long for it; whether anything did."""
        if not self._selector.get_map():
            time.sleep(wait_s)
            return False
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            name, decoder = key.data
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fd)
                os.close(key.fd)
            stream = getattr(sys, name)
            if data and stream is not None:
                stream.write(decoder.decode(data))
                stream.flush()
        return bool(ready)

    def close(self) -> None:
        """Show the rest, and wait for no more: a process that a rank has left may hold a pipe."""
        give_up = time.monotonic() + GRACE_S
        while self._selector.get_map() and time.monotonic() < give_up:
            if not self.pass_on(LOOK_EVERY_S):
                break
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()


def files_of(rank: int) -> Files:
    """What a rank writes to; ranks but zero have a report only."""
    report = unnamed_file()
    more = (unnamed_file(), unnamed_file()) if rank == 0 else (report, report)
    return Files(report, *more)


def unnamed_file() -> IO[bytes]:
    """A file of mode 0600 without a name: only who inherits it has it. It goes with the object."""
    return tempfile.TemporaryFile()


def fork(job: Job, rank: int, relay: Relay, mine: Sequence[Any]) -> Child:
    """A rank that is forked; `mine` is closed there."""
    files, streams = files_of(rank), relay.pipes()

    def run() -> None:
        for one in mine:
            one.close()
        forked(job, rank, files, streams)

    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # what waits there would be written by both
    process = multiprocessing.get_context("fork").Process(target=run, name=f"rank {rank}")
    with warnings.catch_warnings():
        # Threads of a notebook are no danger: the rank uses nothing of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    for fd in streams or ():
        os.close(fd)
    assert process.pid is not None
    return Child(rank, process.pid, lambda: process.exitcode, files)


def spawn(job: Job, rank: int, relay: Relay, payload: IO[bytes]) -> Child:
    """A rank that is a fresh interpreter, which reads its job from a file."""
    files, streams = files_of(rank), relay.pipes()
    fds = [payload.fileno(), *(file.fileno() for file in files)]
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _BOOT, json.dumps(sys.path)),
            *map(str, (job.parent, rank, *fds)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=None if streams is None else streams[0],
        stderr=None if streams is None else streams[1],
        pass_fds=sorted(set(fds)),
        env={**os.environ, **job.env},
    )
    for fd in streams or ():
        os.close(fd)
    return Child(rank, process.pid, process.poll, files)


def wait(children: Sequence[Child], relay: Relay) -> bool:
    """Wait until all ranks have ended, showing what they print; whether Ctrl-C came.

    Once one has failed the others have a few seconds to see it by themselves.
    """
    was_interrupted = was_told = False
    end_by = float("inf")
    while any(child.code is None for child in children):
        try:
            relay.pass_on(LOOK_EVERY_S)
            now = time.monotonic()
            for child in children:
                if child.code is None and (code := child.poll()) is not None:
                    child.code, child.ended_at = code, now
                    if code and not (was_told and code == 75):
                        end_by = min(end_by, now + GRACE_S)
            if preemption.signal is not None and not was_told:
                was_told = True
                send(children, signal.Signals[preemption.signal])
            if now > end_by:
                kill(children)
        except KeyboardInterrupt:
            # The ranks are in groups of their own: they hear of it from here, each once.
            end_by = time.monotonic() + (-1.0 if was_interrupted else INTERRUPT_GRACE_S)
            if not was_interrupted:
                send(children, signal.SIGINT)
            was_interrupted = True
    return was_interrupted


def send(children: Sequence[Child], number: int) -> None:
    """Send a signal to the ranks that still run."""
    for child in children:
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, number)


def kill(children: Sequence[Child]) -> None:
    """End the ranks that still run, with what they have started, and wait for their end."""
    for child in children:
        if child.poll() is None:
            child.was_killed = True
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
    give_up = time.monotonic() + GRACE_S
    while any(child.poll() is None for child in children) and time.monotonic() < give_up:
        time.sleep(LOOK_EVERY_S / 10)
