"""One group of processes: the ranks of one attempt on this node."""

from __future__ import annotations

import os

from launcher.agent import health, processes
from launcher.agent.logs import LineSplitter
from launcher.agent.plain import signal, suppress
from launcher.agent.program_files import program_folder

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class Worker:
    """A rank's process. ``status`` is its exit code or minus its signal once it has ended."""

    def __init__(self, rank: int, local_rank: int, env: dict[str, str]) -> None:
        self.rank, self.local_rank, self.env = rank, local_rank, env
        self.pid: int | None = None
        self.status: int | None = None
        self.killed = self.oom = False
        self.stdin: int | None = None
        self.outputs: dict[int, LineSplitter] = {}  # by file descriptor
        self.errors = -1  # which of them is its standard error
        self.tail = LineSplitter()


class Program:
    """What the ranks run, as the controller sent it."""

    def __init__(
        self, kind: str, target: str, args: list[str], pickled: bytes, compat: str | None
    ) -> None:
        self.kind, self.target, self.args, self.pickled = kind, target, args, pickled
        self.compat = compat  # the package whose names the engine gives to it

    def directory(self, cwd: str) -> str | None:
        """The folder whose modules win over installed ones."""
        return program_folder(self.kind, self.target, cwd)


class Group:
    """The ranks of one attempt: starting, signalling and ending them."""

    def __init__(self, attempt: int, workers: list[Worker], with_stdin: bool) -> None:
        self.attempt = attempt
        self.workers = {worker.rank: worker for worker in workers}
        self.with_stdin = with_stdin
        self.launched = self.stopping = False
        self._oom_before = health.oom_kills()

    @property
    def ended(self) -> bool:
        """Whether every rank has ended."""
        return all(worker.status is not None for worker in self.workers.values())

    @property
    def begun(self) -> bool:
        """Whether any rank has been started."""
        return any(worker.pid is not None for worker in self.workers.values())

    @property
    def all_known(self) -> bool:
        """Whether every rank that has not ended has a process that we know."""
        return all(w.pid is not None or w.status is not None for w in self.workers.values())

    def by_pid(self, pid: int) -> Worker | None:
        """The worker with this process id."""
        for worker in self.workers.values():
            if worker.pid == pid:
                return worker
        return None

    def open_streams(self, worker: Worker) -> tuple[int, int, int]:
        """Make a rank's standard streams; returns its ends, for it to inherit."""
        if self.with_stdin:
            theirs_in, worker.stdin = os.pipe()
            os.set_blocking(worker.stdin, False)
        else:
            theirs_in = os.open(os.devnull, os.O_RDONLY)
        ends = [theirs_in]
        for number in (1, 2):
            ours, theirs = os.pipe()
            os.set_blocking(ours, False)
            worker.outputs[ours] = LineSplitter(keep=0)
            if number == 2:
                worker.errors = ours
            ends.append(theirs)
        return ends[0], ends[1], ends[2]

    def signal(self, number: int) -> None:
        """Send a signal to the ranks themselves, not to processes that they made."""
        for worker in self.workers.values():
            if worker.pid is not None and worker.status is None:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def kill(self) -> None:
        """SIGKILL to every rank that still runs, and to its process group."""
        self.stopping = True
        for worker in self.workers.values():
            if worker.status is not None:
                continue
            worker.killed = True
            if worker.pid is None:
                worker.status = -signal.SIGKILL  # asked for, but never started
                continue
            for send in (os.killpg, os.kill):
                with suppress(ProcessLookupError, PermissionError):
                    send(worker.pid, signal.SIGKILL)

    def ended_with(self, worker: Worker, status: int) -> None:
        """Note how a rank ended; a kill that nobody asked for may have been for memory."""
        worker.status = status
        worker.killed = worker.killed and status == -signal.SIGKILL  # else it was quicker
        if status == -signal.SIGKILL and not worker.killed:
            now = health.oom_kills()
            worker.oom = now > self._oom_before
            self._oom_before = now

    def order_id(self, worker: Worker) -> str:
        """What the fork server calls a rank of this attempt."""
        return f"{self.attempt}:{worker.rank}"

    def fork_order(self, worker: Worker, program: Program, cwd: str) -> dict[str, Any]:
        """What the fork server needs to become this rank."""
        return {
            "op": "fork",
            "id": self.order_id(worker),
            "kind": program.kind,
            "target": program.target,
            "args": program.args,
            "compat": program.compat,
            "env": worker.env,
            "cwd": cwd,
            "directory": program.directory(cwd),
        }


def pickled_file(program: Program) -> int | None:
    """The pickled function as a file in memory, for one rank to read."""
    if program.kind != "function":
        return None
    fd = os.memfd_create("plaunch-function")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(program.pickled)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def spawn_cold(
    worker: Worker,
    program: Program,
    base_env: Mapping[str, str],
    cwd: str,
    python: str,
    sources: Sequence[str],
    streams: tuple[int, int, int],
) -> None:
    """Start a rank in a fresh interpreter, or a program that is no Python at all."""
    env = {**base_env, **worker.env}
    if program.kind == "program":
        worker.pid = processes.spawn([program.target, *program.args], env, streams, cwd)
        return
    fd = pickled_file(program)
    order = processes.RUN.format(
        kind=program.kind,
        target=program.target,
        args=program.args,
        pickled_fd=fd,
        compat=program.compat,
    )
    pass_fds = () if fd is None else (fd,)
    try:
        worker.pid = processes.spawn_python(python, (*sources, order), env, streams, cwd, pass_fds)
    finally:
        if fd is not None:
            os.close(fd)


def error_file(worker: Worker) -> str | None:
    """What torch's ``record`` decorator left, if the program uses it."""
    with suppress(OSError), open(worker.env["TORCHELASTIC_ERROR_FILE"]) as file:
        return file.read(100_000)
    return None
