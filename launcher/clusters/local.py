"""This machine as a cluster: every node is a process of its own, reached through pipes.

The embedded default, so that a laptop behaves like a cluster. It is on the path of every local
start: nothing heavy is imported here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from launcher.clusters.base import FIRST_WORDS_S, never, spare_first
from launcher.core.errors import NodeError
from launcher.core.job import Node

ERRORS_KEPT_BYTES = 10_000
LAST_WORDS_WAIT_S = 0.5


def local_nodes(
    num_nodes: int,
    *,
    python: str | None = None,
    workdir: str | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[Node, ...]:
    """Return the nodes that this machine acts as.

    A single one carries the machine's host name, several are ``local0``, ``local1`` and so on.
    ``python`` defaults to this interpreter, ``workdir`` to the current folder.
    """
    if num_nodes < 1:
        raise ValueError(f"a cluster has at least one node, not {num_nodes}")
    names = [f"local{i}" for i in range(num_nodes)] if num_nodes > 1 else [os.uname().nodename]
    python = python or sys.executable or "python3"
    workdir = workdir or os.getcwd()
    return tuple(
        Node(name, "127.0.0.1", python=python, workdir=workdir, env=dict(env or {}))
        for name in names
    )


class LocalStream:
    """The pipes of a child process. Reading and writing may happen in different threads.

    Our ends never block: a thread that waits in ``read`` or ``write`` also waits for ``close``,
    so closing works although the process is stopped or doesn't read.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._wake, self._waker = os.pipe()
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._closing = threading.Lock()
        self._closed = False
        self._errors = bytearray()
        self._listener = threading.Thread(
            target=self._gather_errors, name=f"stderr of {process.pid}", daemon=True
        )
        self._listener.start()

    @property
    def pid(self) -> int:
        """Process id on this machine, which is also the id of its session."""
        return self._process.pid

    def read(self, size: int) -> bytes:
        """Wait for data, at most ``size`` bytes; empty after the end and after ``close``."""
        with self._reading:
            while self._ready(self._stdout, select.POLLIN):
                try:
                    return os.read(self._stdout.fileno(), size)
                except BlockingIOError:
                    continue
            return b""

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the process has gone or after ``close``."""
        rest = memoryview(data)
        with self._writing:
            while len(rest) > 0:
                if not self._ready(self._stdin, select.POLLOUT):
                    raise BrokenPipeError(errno.EPIPE, "the stream is closed")
                try:
                    rest = rest[os.write(self._stdin.fileno(), rest) :]
                except BlockingIOError:
                    continue

    def errors(self) -> str:
        """Return the last 10 kB of what the process has written to its standard error."""
        if self._process.poll() is not None:
            self._listener.join(LAST_WORDS_WAIT_S)
        return bytes(self._errors).decode(errors="replace")

    def wait(self, timeout_s: float) -> int | None:
        """Exit code (negative: the signal that ended it), or None if it runs on after that."""
        if self._process.poll() is None:
            self._wait_for_end(timeout_s)
        try:
            return self._process.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def _wait_for_end(self, timeout_s: float) -> None:
        """As subprocess waits, who looks every 50 ms, but told at once by the kernel."""
        try:
            end = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # an old kernel; or another thread has seen the end
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
            return
        try:
            poll = select.poll()
            poll.register(end, select.POLLIN)
            poll.poll(timeout_s * 1000)
        finally:
            os.close(end)

    def close(self) -> None:
        """Close both pipes; a thread that waits in ``read`` or ``write`` returns at once."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            os.close(self._waker)
            with self._writing:
                self._stdin.close()
            with self._reading:
                self._stdout.close()
            os.close(self._wake)
            self._process.poll()

    def _ready(self, pipe: IO[bytes], event: int) -> bool:
        """Wait until ``pipe`` is ready for ``event``; False if the stream was closed instead."""
        if self._closed:
            return False
        poll = select.poll()
        poll.register(pipe, event)
        poll.register(self._wake, select.POLLIN)
        poll.poll()
        return not self._closed

    def _gather_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            while chunk := stderr.read(ERRORS_KEPT_BYTES):
                self._errors += chunk
                del self._errors[:-ERRORS_KEPT_BYTES]


def own_input() -> int | None:
    """A descriptor of our standard input for a rank to inherit, which then reads what it wants.

    None for a terminal: that belongs to our session, and what is typed is passed on.
    """
    try:
        fd = sys.stdin.fileno()
        return None if os.isatty(fd) else os.dup(fd)
    except (OSError, ValueError, AttributeError):
        return None


class LocalCluster:
    """``num_nodes`` nodes that are all this machine; each connection is a child process."""

    name = "local"
    one_machine = True
    in_slurm_job = False
    first_words_s = FIRST_WORDS_S

    def __init__(self, num_nodes: int = 1, nodes: Sequence[Node] | None = None) -> None:
        self._nodes = tuple(nodes) if nodes is not None else local_nodes(num_nodes)
        self._used: set[str] = set()
        self.inherited_stdin = own_input()

    def nodes(self, stop: Callable[[], bool] = never) -> tuple[Node, ...]:
        """All nodes, in the order in which ranks are placed."""
        return self._nodes

    def prepare(self, nodes: Sequence[Node]) -> None:
        """Nothing is shared between the connections of this machine."""
        self._used.update(node.name for node in nodes)

    def replace(self, lost: Sequence[Node], stop: Callable[[], bool]) -> tuple[Node, ...]:
        """Nodes that were never used, then the lost ones."""
        return spare_first(self._nodes, self._used, lost)

    def connect(self, node: Node, argv: Sequence[str], env: Mapping[str, str]) -> LocalStream:
        """Start ``argv`` in a session of its own and in the current folder.

        ``env``, unless empty, is its whole environment; else it inherits ours. Raises NodeError.
        """
        try:
            process = subprocess.Popen(
                list(argv),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env) or None,
                start_new_session=True,
                close_fds=True,
                pass_fds=() if self.inherited_stdin is None else (self.inherited_stdin,),
            )
        except OSError as error:
            reason = error.strerror or str(error)
            advice = "check `python` in the cluster file"
            if error.errno == errno.EMFILE:
                advice = "raise the limit of open files (ulimit -n)"
            raise NodeError(node.name, f"can't start {argv[0]}: {reason}", advice) from error
        return LocalStream(process)

    def close(self) -> None:
        """Nothing is shared between the connections of this machine but our standard input."""
        if self.inherited_stdin is not None:
            os.close(self.inherited_stdin)
            self.inherited_stdin = None
