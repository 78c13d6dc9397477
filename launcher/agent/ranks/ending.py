"""Ending the ranks of an attempt that has failed: asked first, killed when the grace is over.

A rank that does nothing about SIGTERM is killed at once, which is all that the signal would do. One
that catches it has the grace for its handlers, ``finally`` blocks and ``atexit``. But Python runs a
handler between two lines of the program only: a rank that waits in a collective, whose others are
gone, never gets there. That can be seen: its main thread stays in the very system call in which the
signal found it, and nothing else of it works either, or waits for a moment or for a child. Such a
rank is not waited for.
"""

from __future__ import annotations

import os

from launcher.agent.lowlevel import signal, suppress
from launcher.agent.node.cleanup import read_text

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.agent.ranks.workers import Group, Worker
    from launcher.agent.system import System

QUIET_S = 1.0  # a rank that does nothing at all for so long is stuck
IDLE_TICKS = 2  # of processor time, 10 ms each, that threads beside the main one may use meanwhile
# Numbers of system calls (x86-64, arm64) that are in no collective. They sleep for a time, as a
# loop that polls does: select (of which older Pythons make time.sleep), pselect6, nanosleep,
# clock_nanosleep. Or they wait for a child, which may be at work: wait4, waitid.
SLEEPS = ("23", "270", "35", "230", "72", "101", "115", "61", "247", "260", "95")


class Stance:
    """What a process was doing at a moment: where its main thread waits, and what it has done."""

    __slots__ = ("call", "switches", "ticks")

    def __init__(self, call: str, switches: str, ticks: int) -> None:
        self.call, self.switches, self.ticks = call, switches, ticks

    @property
    def sleeps(self) -> bool:
        """Whether it only waits for time to pass, or for a child."""
        return _sleeps(self.call)


class Watched:
    """A process that may be stuck. ``call``: where the signal found it; None: wherever it is."""

    def __init__(self, pid: int, call: str | None, now: float) -> None:
        self.pid, self.since, self._call = pid, now, call
        self._last: Stance | None = None

    def is_stuck(self, stance: Stance | None, now: float) -> bool:
        """Whether it has done nothing for long enough; to be asked often, with its stance now."""
        last, self._last = self._last, stance
        quiet = (
            stance is not None
            and last is not None
            and stance.call == last.call
            and stance.switches == last.switches
            and stance.ticks - last.ticks <= IDLE_TICKS
            and (self._call is None or (stance.call == self._call and not stance.sleeps))
        )
        if not quiet:
            self.since = now
        elif last is not None:
            self._last = last  # processor time adds up over the whole wait
        return now - self.since >= QUIET_S


class Ending:
    """The ranks of a group that have been asked to end, and have until the grace is over."""

    def __init__(self, group: Group, grace_s: float, is_python: bool, system: System) -> None:
        now = system.monotonic()
        self._group, self._system, self._give_up = group, system, now + grace_s
        self._asked: dict[int, list[Watched]] = {}
        for worker in group.workers.values():
            if worker.status is None:
                watched = list(self._ask(worker, is_python, now))
                if watched:
                    self._asked[worker.rank] = watched
                else:
                    group.kill_one(worker)

    def _ask(self, worker: Worker, is_python: bool, now: float) -> Iterator[Watched]:
        """Ask a rank to end; yields the processes that may do something about it."""
        if worker.pid is None:
            return
        if worker.raised:  # it is ending already
            yield Watched(worker.pid, None, now)
            return
        asked = [worker.pid]
        if not is_python and not self._system.catches(
            worker.pid
        ):  # a shell, say, around the program itself
            asked = self._system.descendants(worker.pid)
        for pid in asked:
            if not self._system.catches(pid):
                continue
            before = self._system.stance(pid)
            with suppress(ProcessLookupError, PermissionError):
                self._system.kill(pid, signal.SIGTERM)
                worker.stopped = True
                yield Watched(pid, "" if before is None else before.call, now)

    def check(self, now: float) -> None:
        """Kill the ranks that are stuck, and after the grace all of them."""
        for rank, watched in list(self._asked.items()):
            worker = self._group.workers[rank]
            alive = [one for one in watched if self._system.exists(one.pid)]
            stuck = [one for one in alive if one.is_stuck(self._system.stance(one.pid), now)]
            if worker.status is not None:
                del self._asked[rank]
            elif now >= self._give_up or (alive and len(stuck) == len(alive)):
                self._group.kill_one(worker)
                del self._asked[rank]


def _sleeps(call: str) -> bool:
    return call.split(" ", 1)[0] in SLEEPS


def stance(pid: int) -> Stance | None:
    """What a process does just now; None if it is at work, is gone or can't be looked at.

    A thread that runs, sleeps or waits for a child is at work, such as one that saves.
    """
    try:
        call = read_text(f"/proc/{pid}/task/{pid}/syscall").strip()
        if call == "running":
            return None
        for task in os.listdir(f"/proc/{pid}/task"):
            other = "" if task == str(pid) else read_text(f"/proc/{pid}/task/{task}/syscall")
            if other.strip() == "running" or _sleeps(other):
                return None
        rows = read_text(f"/proc/{pid}/task/{pid}/status").splitlines()
        numbers = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None
    switches = " ".join(row for row in rows if "ctxt_switches" in row)
    return Stance(call, switches, int(numbers[11]) + int(numbers[12]))


def catches(pid: int, number: int = signal.SIGTERM) -> bool:
    """Whether a process has its own way with a signal: a handler, or a thread that waits for it."""
    try:
        rows = read_text(f"/proc/{pid}/status").splitlines()
    except OSError:
        return False
    masks = [int(row.split()[1], 16) for row in rows if row.startswith(("SigCgt:", "SigBlk:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
