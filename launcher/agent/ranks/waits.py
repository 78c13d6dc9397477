"""Whether a process waits for its standard input: the kernel knows what call it is in.

Input is passed on to a rank only when it waits for it. What it does not read stays where it is, for
whoever reads there next: the loop around ``while read x; do plaunch ...; done``.
"""

from __future__ import annotations

import os

from launcher.agent.lowlevel import suppress
from launcher.agent.node import cleanup

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = 65536
# Numbers of system calls by machine. Of those that wait for several files it has to be looked up
# which ones.
CALLS = {
    "x86_64": {0: "read", 19: "readv", 7: "poll", 271: "poll", 23: "select", 270: "select",
               232: "epoll", 281: "epoll", 441: "epoll"},
    "aarch64": {63: "read", 65: "readv", 73: "poll", 72: "select", 22: "epoll", 441: "epoll"},
}  # fmt: skip
POLLIN = 1
MOST_FILES = 1024


def can_be_seen(pid: int) -> bool:
    """Whether this machine tells what calls a process is in, and we know their numbers."""
    with suppress(OSError):
        cleanup.read_text(f"/proc/{pid}/syscall")
        return os.uname().machine in CALLS
    return False


def wanted_bytes(pids: Iterable[int], inode: int) -> int:
    """How much one of the processes would read just now from the pipe with this inode; 0: none."""
    names = CALLS.get(os.uname().machine, {})
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            for task in os.listdir(f"/proc/{pid}/task"):
                words = cleanup.read_text(f"/proc/{pid}/task/{task}/syscall").split()
                if len(words) < 7:  # it is at work
                    continue
                name = names.get(int(words[0]), "")
                numbers = [int(word, 16) for word in words[1:7]]
                if any(_is_pipe(pid, fd, inode) for fd in _files(pid, name, numbers)):
                    return min(numbers[2], CHUNK) if name == "read" else CHUNK
    return 0


def _files(pid: int, name: str, numbers: list[int]) -> Iterable[int]:
    """The descriptors from which a call waits for input."""
    if name in ("read", "readv"):
        return [numbers[0]]
    if name == "poll":
        data = _memory(pid, numbers[0], 8 * min(numbers[1], MOST_FILES))
        rows = [data[at : at + 8] for at in range(0, len(data), 8)]
        return [int.from_bytes(row[:4], "little") for row in rows if row[4] & POLLIN]
    if name == "select" and numbers[1]:
        data = _memory(pid, numbers[1], (min(numbers[0], MOST_FILES) + 7) // 8)
        return [at for at in range(8 * len(data)) if data[at // 8] >> (at % 8) & 1]
    if name == "epoll":
        rows_of = cleanup.read_text(f"/proc/{pid}/fdinfo/{numbers[0]}").splitlines()
        waits = [row.split() for row in rows_of if row.startswith("tfd:")]
        return [int(row[1]) for row in waits if int(row[3], 16) & POLLIN]
    return []


def _memory(pid: int, address: int, size: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), size, address)


def _is_pipe(pid: int, fd: int, inode: int) -> bool:
    with suppress(OSError):
        return os.stat(f"/proc/{pid}/fd/{fd}").st_ino == inode
    return False
