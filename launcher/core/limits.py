"""How many files this process may have open, and its three standard ones.

A run takes a few for each node. So the soft limit is raised to the hard one while a run is led from
here; what is started for the user has the user's own limit.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

BASE_FILES = 40  # what a launcher has open by itself
FILES_A_NODE = 6  # a local agent's pipes; a connection takes fewer
MOST_FILES = 1 << 16  # are never needed; some programs that we start close all up to the limit

_own: list[int] = []  # the soft limit before it was raised; empty if it is as it was


@contextlib.contextmanager
def more_open_files() -> Iterator[None]:
    """Raise the soft limit of open files as far as is allowed, for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _own or not _raise(soft, hard):
        yield
        return
    _own.append(soft)
    try:
        yield
    finally:
        _own.clear()
        with contextlib.suppress(ValueError, OSError):  # more are open than that
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _raise(soft: int, hard: int) -> bool:
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return False
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return True
    return False


def own_soft_limit() -> int | None:
    """The user's own soft limit of open files, whether or not it is raised; None: there is none."""
    soft = _own[0] if _own else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def too_few_files(num_nodes: int, num_ranks: int) -> str | None:
    """A line about a hard limit that is too low for a run of this size, or None."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = BASE_FILES + FILES_A_NODE * num_nodes + num_ranks
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return None
    return (
        f"this machine allows {hard} open files (ulimit -Hn), and this run takes about {needed}: "
        "have the hard limit raised (nofile in /etc/security/limits.conf, LimitNOFILE in systemd)"
    )


def open_standard_streams() -> None:
    """Open what is closed of the standard streams on nothing (``plaunch ... <&- >&- 2>&-``).

    Else the next file or connection that is opened would get their numbers, and our output.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            while os.open(os.devnull, os.O_RDWR) < fd:
                pass  # a lower one was closed meanwhile
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))
