"""Nothing of a run is left on a node: finding its processes and ending them, and out-of-memory.

A process belongs to a run if it carries the run's marker in the environment it was started with
(``/proc/PID/environ``, inherited through fork and exec), or descends from one that we started. As
subreapers, guard and agent become the parents of orphans, so a daemon that wiped its environment
but was left by its parent is still found. What even that can't see: a process that wiped its
environment while another subreaper (a container's init, ``systemd --user``) took it in.
"""

from __future__ import annotations

import os
import time

from launcher.agent.lowlevel import signal, suppress

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def prctl(option: int, value: int) -> None:
    """Linux prctl(2); silently without effect where it does not exist."""
    try:  # as ctypes does it, which takes longer to import than a whole agent needs to start
        import _ctypes

        core: Any = _ctypes
        call = core.dlsym(core.dlopen(None, 0), "prctl")
        core.call_function(call, (option, value, 0, 0, 0))
    except (ImportError, AttributeError):
        with suppress(OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def become_subreaper() -> None:
    """Orphaned descendants become our children instead of init's."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def read_text(path: str) -> str:
    """A file of the kernel's. Raises OSError."""
    with open(path, errors="replace") as file:
        return file.read()


def parents() -> dict[int, int]:
    """Every process and its parent; zombies are left out: they hold nothing."""
    parent_of = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = read_text(f"/proc/{name}/stat")
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state not in "ZX":
            parent_of[int(name)] = int(parent)
    return parent_of


def _carries(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:
        return False
    return environ.startswith(mark) or b"\0" + mark in environ


def processes_of_run(mark: str, keep: Iterable[int] = ()) -> list[int]:
    """Ids of the run's processes on this node, without ``keep`` and ourselves."""
    me, needle = os.getpid(), mark.encode() + b"="
    left_out = {*keep, me}
    parent_of = parents()

    def descends(pid: int) -> bool:
        while pid in parent_of and pid != me:
            pid = parent_of[pid]
        return pid == me

    return sorted(
        pid for pid in parent_of if pid not in left_out and (descends(pid) or _carries(pid, needle))
    )


def descendants(pid: int) -> list[int]:
    """The processes that a process has made, and theirs."""
    parent_of = parents()
    family = {pid}
    while more := {one for one, parent in parent_of.items() if parent in family} - family:
        family |= more
    return sorted(family - {pid})


def reap() -> None:
    """Collect all children that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def sweep(mark: str, keep: Iterable[int] = (), reap: Callable[[], None] = lambda: None) -> int:
    """Kill all processes of the run except ``keep`` until none is left; returns how many.

    Forks that race with the sweep are caught by looking again until a look finds nothing. A
    process in uninterruptible sleep can't be killed: after 5 s it is left behind.
    """
    killed: set[int] = set()
    kept = set(keep)
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        left = processes_of_run(mark, kept)
        if not left:
            break
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        reap()
        time.sleep(0.002)
    return len(killed)


def oom_kills() -> int:
    """How often the kernel has killed a process of our control group for memory.

    Where groups have no such number, on the whole machine. Only differences mean anything. 0 where
    the kernel does not tell.
    """
    counts = []
    for path in [*_memory_files(), "/proc/vmstat"]:
        with suppress(OSError):
            counts += _field(read_text(path), "oom_kill")
    return counts[0] if counts else 0


NEARLY = 0.9


def nearly_all(peak: int) -> str:
    """What was in use before a process of ``peak`` bytes was killed: ``15.2 of 16.0 GiB``.

    Empty unless that was nearly all memory of the machine, or of a control group that we are in.
    """
    for limit, available in _limits():
        used = min(limit - available + peak, limit)
        if limit > 0 and used >= NEARLY * limit:
            return f"{used / 2**30:.1f} of {limit / 2**30:.1f} GiB"
    return ""


def _limits() -> list[tuple[int, int]]:
    """The bytes that we may use, and how many of them are free now."""
    limits = []
    with suppress(OSError):
        words = [line.split()[:2] for line in read_text("/proc/meminfo").splitlines()]
        meminfo = {pair[0]: int(pair[1]) << 10 for pair in words if len(pair) == 2}
        limits.append((meminfo.get("MemTotal:", 0), meminfo.get("MemAvailable:", 0)))
    for file in _memory_files():
        folder, name = file.rsplit("/", 1)
        v2 = name == "memory.events"
        limit_in, used_in, cache = (
            ("memory.max", "memory.current", "inactive_file")
            if v2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        while folder.startswith("/sys/fs/cgroup"):
            with suppress(OSError, ValueError):  # no limit is the word "max"
                limit = int(read_text(f"{folder}/{limit_in}"))
                used = int(read_text(f"{folder}/{used_in}"))
                again = _field(read_text(f"{folder}/memory.stat"), cache)
                limits.append((limit, limit - used + (again[0] if again else 0)))
            folder = folder.rsplit("/", 1)[0]
    return limits


def _field(text: str, name: str) -> list[int]:
    """The number beside a name; none where the name is missing."""
    lines = [line.split() for line in text.splitlines()]
    return [int(words[1]) for words in lines if len(words) == 2 and words[0] == name]


def _memory_files() -> list[str]:
    files = []
    with suppress(OSError):
        for line in read_text("/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                files.append(f"/sys/fs/cgroup{path}/memory.events")
            elif "memory" in controllers.split(","):
                files.append(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
    return files
