"""A node in memory for the real agent: a clock that jumps, pipes of bytes, processes as objects.

Nothing waits: when the agent has nothing to do, time goes on to the next thing that a test has
scheduled, or to the end of the agent's own wait.
"""

from __future__ import annotations

import heapq
import itertools
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from launcher.agent.lowlevel import READ
from launcher.agent.ranks.ending import Stance
from launcher.agent.system import System
from launcher.core.protocol.frames import Decoder, encode

PARENT = 1


class Pipe:
    """Bytes between two ends; ``writers`` counts the open ones."""

    def __init__(self) -> None:
        self.data, self.writers = bytearray(), 1


class Process:
    """What runs on the node; it does what a test tells it to."""

    def __init__(self, node: FakeNode, pid: int, argv: Sequence[str], env: Mapping[str, str]):
        self.node, self.pid, self.argv, self.env = node, pid, argv, env
        self.streams: dict[int, Pipe] = {}
        self.on_sigterm: Callable[[], None] | None = None
        self.signals: list[int] = []
        self.is_alive = True

    def print(self, text: str, fd: int = 1) -> None:
        self.streams[fd].data += text.encode()

    def exit(self, status: int) -> None:
        """End with a wait status: ``code << 8``, or a signal's number."""
        if not self.is_alive:
            return
        self.is_alive = False
        for fd in (1, 2):
            self.streams[fd].writers -= 1
        self.node.ended.append((self.pid, status, 0))
        self.node.raise_signal(signal.SIGCHLD)


class FakeSelector:
    """Says which of the node's pipes are ready, and lets the time pass where none is."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node
        self._actions: dict[int, tuple[int, Callable[[], None]]] = {}

    def register(self, fd: int, event: int, action: Callable[[], None]) -> None:
        self._actions[fd] = (event, action)

    def unregister(self, fd: int) -> None:
        del self._actions[fd]

    def action(self, fd: int) -> Callable[[], None] | None:
        return self._actions[fd][1] if fd in self._actions else None

    def wait(self, timeout_s: float) -> list[tuple[int, Callable[[], None]]]:
        until = self._node.now + timeout_s
        while not (ready := self._ready()) and self._node.advance(until):
            pass
        return ready

    def _ready(self) -> list[tuple[int, Callable[[], None]]]:
        return [
            (fd, action)
            for fd, (event, action) in self._actions.items()
            if event != READ or self._node.is_readable(fd)
        ]


class NoListener:
    """A socket to which no rank ever connects."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def accept(self) -> NoReturn:
        raise BlockingIOError


class FakeNode(System):
    """The node: give it to the agent, and :meth:`at` says what happens when."""

    def __init__(self, on_spawn: Callable[[Process], None]) -> None:
        self.now, self._on_spawn = 100.0, on_spawn
        self._numbers, self._pids = itertools.count(10), itertools.count(1000)
        self._future: list[tuple[float, int, Callable[[], None]]] = []
        self._files: dict[int, tuple[Pipe, bool]] = {0: (Pipe(), False)}
        self._wakeup = Pipe()
        self.processes: dict[int, Process] = {}
        self.ended: list[tuple[int, int, int]] = []
        self.told: list[tuple[float, dict[str, Any]]] = []  # what the controller hears, and when
        self.complaints: list[str] = []
        self.paths: set[str] = set()
        self._decoder = Decoder()

    # -- for the test

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this so long after the start."""
        heapq.heappush(self._future, (100.0 + seconds, next(self._numbers), action))

    def order(self, seconds: float, message: dict[str, Any]) -> None:
        """The controller's message comes then."""
        self.at(seconds, lambda: self._files[0][0].data.extend(encode(message)))

    def hang_up(self, seconds: float) -> None:
        """The controller's end of our input is closed then."""
        self.at(seconds, lambda: setattr(self._files[0][0], "writers", 0))

    def heard(self, *kinds: str) -> list[tuple[float, dict[str, Any]]]:
        """The messages of these kinds, with the seconds after the start."""
        return [(round(at - 100, 2), body) for at, body in self.told if body["type"] in kinds]

    def raise_signal(self, number: int) -> None:
        self._wakeup.data.append(number)

    def advance(self, until: float) -> bool:
        """Go on to the next scheduled thing and do it; False if there is none until then."""
        if not self._future or self._future[0][0] > until:
            self.now = until
            return False
        self.now, _, action = heapq.heappop(self._future)
        action()
        return True

    # -- time and files

    def monotonic(self) -> float:
        return self.now

    def selector(self) -> Any:
        return FakeSelector(self)

    def read(self, fd: int, size: int) -> bytes:
        pipe, _ = self._files[fd]
        if not pipe.data and pipe.writers:
            raise BlockingIOError
        data = bytes(pipe.data[:size])
        del pipe.data[:size]
        return data

    def write(self, fd: int, data: bytes) -> int:
        if fd == 1:
            self.told += [(self.now, message) for message in self._decoder.feed(bytes(data))]
        elif fd in self._files:
            self._files[fd][0].data += data
        return len(data)

    def close(self, fd: int) -> None:
        pipe, writes = self._files.pop(fd)
        pipe.writers -= writes

    def dup(self, fd: int) -> int:
        return self._open(*self._files[fd])

    def pipe(self) -> tuple[int, int]:
        pipe = Pipe()
        return self._open(pipe, False), self._open(pipe, True)

    def _open(self, pipe: Pipe, writes: bool) -> int:
        fd = next(self._numbers)
        self._files[fd] = (pipe, writes)
        return fd

    def open_null(self) -> int:
        return self._open(Pipe(), True)

    def memory_file(self, name: str, data: bytes) -> int:
        pipe = Pipe()
        pipe.data += data
        return self._open(pipe, False)

    def set_blocking(self, fd: int, blocking: bool) -> None:
        """Nothing blocks here."""

    def create_file(self, path: str) -> None:
        self.paths.add(path)

    def unlink(self, path: str) -> None:
        if path not in self.paths:
            raise FileNotFoundError(path)
        self.paths.remove(path)

    def is_readable(self, fd: int) -> bool:
        pipe, _ = self._files[fd]
        return bool(pipe.data) or pipe.writers == 0

    def wait_writable(self, fd: int, timeout_s: float) -> None:
        """Everything can be written at once."""

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    # -- processes and signals

    def spawn(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        streams: tuple[int, int, int],
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> int:
        pid = next(self._pids)
        process = self.processes[pid] = Process(self, pid, argv, env)
        for target, fd in enumerate(streams):
            process.streams[target] = self._files[fd][0]
            process.streams[target].writers += target > 0
        self._on_spawn(process)
        return pid

    def spawn_python(self, *_: Any) -> int:
        raise FileNotFoundError("no python here")

    def kill(self, pid: int, number: int) -> None:
        process = self.processes.get(pid)
        if process is None or not process.is_alive:
            raise ProcessLookupError(pid)
        process.signals.append(number)
        if number == signal.SIGTERM and process.on_sigterm is not None:
            process.on_sigterm()
        else:
            process.exit(number)

    def killpg(self, pid: int, number: int) -> None:
        self.kill(pid, number)

    def parent(self) -> int:
        return PARENT

    def exists(self, pid: int) -> bool:
        return pid in self.processes and self.processes[pid].is_alive

    def descendants(self, pid: int) -> list[int]:
        return []

    def catches(self, pid: int, number: int = signal.SIGTERM) -> bool:
        return self.processes[pid].on_sigterm is not None

    def stance(self, pid: int) -> Stance | None:
        return None  # it is at work

    def oom_kills(self) -> int:
        return 0

    def nearly_all_memory(self, peak: int) -> str:
        return ""

    def allow_files_for(self, *_: Any) -> None:
        """As many as there are."""

    def ended_children(self) -> Iterator[tuple[int, int, int]]:
        while self.ended:
            yield self.ended.pop(0)

    def sweep(self, mark: str, keep: Iterable[int], *, reap: bool = False) -> int:
        left = [one for one in self.processes.values() if one.is_alive and one.pid not in keep]
        for process in left:
            process.exit(signal.SIGKILL)
        return len(left)

    def listen_to_signals(self, numbers: Sequence[int]) -> int:
        return self._open(self._wakeup, False)

    def requested_input(self, readers: Sequence[int], fd: int) -> tuple[int, bool]:
        return 0, True

    # -- network and devices

    def listen_for_ranks(self, path: str) -> NoListener:
        return NoListener(self._open(Pipe(), False))

    def facts(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"hostname": "fake"}

    def reaches(self, address: str, port: int, word: bytes = b"", timeout_s: float = 5.0) -> None:
        return None

    def route_to(self, address: str, port: int) -> tuple[str | None, str | None]:
        return None, None

    def interface_of(self, address: str) -> str | None:
        return None

    def listen_on(self, address: str) -> NoReturn:
        raise OSError("no network here")

    def reserve(self, address: str) -> NoReturn:
        raise OSError("no network here")

    def gpus(self, visible: str | None, own: Iterable[str]) -> dict[str, Any]:
        return {"gpus": [], "visible": visible, "error": ""}

    def leases(self, job_id: str) -> NoReturn:
        raise OSError("no GPUs here")
