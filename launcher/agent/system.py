"""The node as the agent uses it: time, files, processes, signals, network. It decides nothing.

Every part of the agent's loop gets a :class:`System` as an argument, so that another one, with a
clock, streams and processes of its own, can drive the same loop without touching a machine.
"""

from __future__ import annotations

import os
import select
import sys
import time

from launcher.agent.lowlevel import Selector, called, signal, socket, suppress
from launcher.agent.node import cleanup, limits, probe
from launcher.agent.ranks import processes

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from launcher.agent.node.gpu_lease import Lease
    from launcher.agent.ranks.ending import Stance


class RankListener:
    """The unix socket to which ranks connect; each connection comes with its process id."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(1024)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def accept(self) -> tuple[socket.socket, int]:
        """A new connection and who made it. Raises BlockingIOError if there is none."""
        line = called(self._socket)
        line.setblocking(False)
        credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return line, int.from_bytes(credentials[:4], sys.byteorder)  # then the user's and group's


class System:
    """This machine."""

    # -- time and files

    monotonic = staticmethod(time.monotonic)
    selector = Selector
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    close = staticmethod(os.close)
    dup = staticmethod(os.dup)
    pipe = staticmethod(os.pipe)
    set_blocking = staticmethod(os.set_blocking)
    unlink = staticmethod(os.unlink)

    def open_null(self) -> int:
        """The null device, for reading and writing."""
        return os.open(os.devnull, os.O_RDWR)

    def memory_file(self, name: str, data: bytes) -> int:
        """A file in memory that holds ``data``, to be read from its beginning."""
        fd = os.memfd_create(name)
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def create_file(self, path: str) -> None:
        """Make an empty file of our own. Raises OSError if there is one."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))

    def is_readable(self, fd: int) -> bool:
        """Whether reading would not wait."""
        poll = select.poll()  # unlike select it takes any descriptor
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))

    def wait_writable(self, fd: int, timeout_s: float) -> None:
        """Wait until something can be written there, or the time is over."""
        select.select([], [fd], [], timeout_s)

    def complain(self, text: str) -> None:
        """A line on standard error, which the controller shows if the agent ends."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    # -- processes and signals

    kill = staticmethod(os.kill)
    killpg = staticmethod(os.killpg)
    parent = staticmethod(os.getppid)
    spawn = staticmethod(processes.spawn)
    spawn_python = staticmethod(processes.spawn_python)
    descendants = staticmethod(cleanup.descendants)
    oom_kills = staticmethod(cleanup.oom_kills)
    nearly_all_memory = staticmethod(cleanup.nearly_all)
    allow_files_for = staticmethod(limits.allow_files_for)

    def catches(self, pid: int) -> bool:
        """Whether a process has its own way with SIGTERM."""
        from launcher.agent.ranks.ending import catches  # none of this is needed for a start

        return catches(pid)

    def stance(self, pid: int) -> Stance | None:
        """What a process does just now; None if it is at work or gone."""
        from launcher.agent.ranks.ending import stance

        return stance(pid)

    def exists(self, pid: int) -> bool:
        """Whether there is such a process, if only as a zombie."""
        return os.path.exists(f"/proc/{pid}")

    def ended_children(self) -> Iterator[tuple[int, int, int]]:
        """Process id, wait status and peak memory (KiB) of each child that has ended."""
        with suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0] != 0:
                yield ended[0], ended[1], ended[2].ru_maxrss

    def sweep(self, mark: str, keep: Iterable[int], *, reap: bool = False) -> int:
        """Kill what is left of the run except ``keep``; returns how many processes that were."""
        return cleanup.sweep(mark, keep, cleanup.reap if reap else lambda: None)

    def listen_to_signals(self, numbers: Sequence[int]) -> int:
        """A descriptor on which each of these signals is a byte from now on."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        return read

    def requested_input(self, readers: Sequence[int], fd: int) -> tuple[int, bool]:
        """How many bytes a process waits for on our end ``fd`` of its input, and if that is seen.

        Where nobody can see whether it waits, as much as there is.
        """
        from launcher.agent.ranks import waits

        if not waits.can_be_seen(readers[0]):
            return waits.CHUNK, False
        return waits.wanted_bytes(readers, os.fstat(fd).st_ino), True

    # -- network and devices

    listen_for_ranks = RankListener
    facts = staticmethod(probe.facts)
    reaches = staticmethod(probe.reaches)
    route_to = staticmethod(probe.route_to)
    interface_of = staticmethod(probe.interface_of)

    def listen_on(self, address: str) -> socket.socket:
        """A listening socket on a free port of one address. Raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind((address, 0))
            sock.listen(1024)
        except OSError:
            sock.close()
            raise
        return sock

    def reserve(self, address: str) -> socket.socket:
        """A socket on a free port of one address that nobody gets by chance. Raises OSError.

        Who knows the port can listen there: both say SO_REUSEADDR, and this one does not listen.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, 0))
        except OSError:
            sock.close()
            raise
        return sock

    def gpus(self, visible: str | None, own: Iterable[str]) -> dict[str, Any]:
        """The node's GPUs, as the driver tells them."""
        from launcher.agent.node.gpu_probe import probe_node

        return probe_node(visible, tuple(own))

    def leases(self, job_id: str) -> Lease:
        """The leases that a job has on GPUs."""
        from launcher.agent.node.gpu_lease import Lease

        return Lease(job_id)
