"""The ranks of one attempt on this node: their processes, streams and ends.

When they are started and ended is decided in launcher.agent.loop.attempts.
"""

from __future__ import annotations

from launcher.agent.lowlevel import signal, suppress
from launcher.agent.node.program_files import program_folder
from launcher.agent.ranks import processes
from launcher.agent.ranks.last_lines import LastLines

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from launcher.agent.system import System
    from launcher.core.protocol.messages import RankOrder


class Worker:
    """A rank's process. ``status`` is its exit code or minus its signal once it has ended."""

    def __init__(self, rank: int, local_rank: int, env: dict[str, str]) -> None:
        self.rank, self.local_rank, self.env = rank, local_rank, env
        self.pid: int | None = None
        self.status: int | None = None
        self.killed = self.oom = self.warned = False
        self.memory = ""  # why it may have been killed for memory
        self.raised = False  # it has told of an exception that ends it
        self.stopped = False  # it was asked to end because another rank had failed
        self.stdin: int | None = None
        self.outputs: list[int] = []  # our ends of what it prints on
        self.errors = -1  # which of them is its standard error
        self.last_lines = LastLines()


def make(
    ranks: Sequence[RankOrder],
    defaults: Mapping[str, str],
    env: Mapping[str, str],
    seam: Mapping[str, str],
) -> list[Worker]:
    """The workers of an attempt. ``defaults`` yield to what ``env`` has."""
    made = []
    for rank in ranks:
        own = {name: value for name, value in defaults.items() if name not in env}
        own |= {**rank["env"], **seam}
        own["TORCHELASTIC_ERROR_FILE"] += f"/error-{rank['rank']}.json"
        made.append(Worker(rank["rank"], rank["local_rank"], own))
    return made


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

    def __init__(
        self,
        attempt: int,
        workers: list[Worker],
        system: System,
        with_stdin: bool,
        stdin: int | None = None,
    ) -> None:
        self.attempt = attempt
        self.workers = {worker.rank: worker for worker in workers}
        self._system = system
        self.with_stdin = with_stdin
        self._stdin = stdin  # inherited from the launcher
        self.launched = False
        self._oom_before = system.oom_kills()

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

    def by_order(self, order_id: str) -> Worker | None:
        """The worker that an order to the fork server was for."""
        return next((w for w in self.workers.values() if self.order_id(w) == order_id), None)

    def open_streams(self, worker: Worker) -> tuple[int, int, int]:
        """Make a rank's standard streams; returns its ends, for it to inherit."""
        system = self._system
        if self.with_stdin and self._stdin is not None:
            theirs_in = system.dup(self._stdin)
        elif self.with_stdin:
            theirs_in, worker.stdin = system.pipe()
            system.set_blocking(worker.stdin, False)
        else:
            theirs_in = system.open_null()
        ends = [theirs_in]
        for number in (1, 2):
            ours, theirs = system.pipe()
            system.set_blocking(ours, False)
            worker.outputs.append(ours)
            if number == 2:
                worker.errors = ours
            ends.append(theirs)
        return ends[0], ends[1], ends[2]

    def readers(self, is_python: bool) -> list[int]:
        """The processes that may read the only rank's input: itself, then what a shell started."""
        (worker,) = self.workers.values()
        if worker.pid is None or worker.status is not None:
            return []
        return [worker.pid, *([] if is_python else self._system.descendants(worker.pid))]

    def signal(self, number: int) -> None:
        """Send a signal to the ranks themselves, not to processes that they made."""
        for worker in self.workers.values():
            if worker.pid is not None and worker.status is None:
                with suppress(ProcessLookupError):
                    self._system.kill(worker.pid, number)

    def kill(self) -> None:
        """SIGKILL to every rank that still runs, and to its process group."""
        for worker in self.workers.values():
            if worker.status is None:
                self.kill_one(worker)

    def kill_one(self, worker: Worker) -> None:
        """SIGKILL to a rank and its process group."""
        worker.killed = True
        if worker.pid is None:
            worker.status = -signal.SIGKILL  # asked for, but never started
            return
        for send in (self._system.killpg, self._system.kill):
            with suppress(ProcessLookupError, PermissionError):
                send(worker.pid, signal.SIGKILL)

    def ended_with(self, worker: Worker, status: int, peak_kib: int = 0) -> None:
        """Note how a rank ended; a kill that nobody asked for may have been for memory.

        ``killed``: we made it end, however it did that.
        """
        worker.status = status
        worker.killed = worker.stopped or (worker.killed and status == -signal.SIGKILL)
        if status == -signal.SIGKILL and not worker.killed:
            now = self._system.oom_kills()
            worker.oom = now > self._oom_before
            self._oom_before = now
            worker.memory = "" if worker.oom else self._system.nearly_all_memory(peak_kib << 10)

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


def pickled_file(program: Program, system: System) -> int | None:
    """The pickled function as a file in memory, for one rank to read."""
    if program.kind != "function":
        return None
    return system.memory_file("plaunch-function", program.pickled)


def spawn_cold(
    worker: Worker,
    program: Program,
    base_env: Mapping[str, str],
    cwd: str,
    python: str,
    sources: Sequence[str],
    streams: tuple[int, int, int],
    system: System,
) -> None:
    """Start a rank in a fresh interpreter, or a program that is no Python at all."""
    env = {**base_env, **worker.env}
    if program.kind == "program":
        worker.pid = system.spawn([program.target, *program.args], env, streams, cwd)
        return
    fd = pickled_file(program, system)
    order = processes.RUN.format(
        kind=program.kind,
        target=program.target,
        args=program.args,
        pickled_fd=fd,
        compat=program.compat,
    )
    pass_fds = () if fd is None else (fd,)
    try:
        worker.pid = system.spawn_python(python, (*sources, order), env, streams, cwd, pass_fds)
    finally:
        if fd is not None:
            system.close(fd)
