"""The exit codes of ``plaunch``, beside a failed rank's own.

Code that travels to the nodes can't import this; of these numbers it has none but those of signals.
"""

from __future__ import annotations

USAGE = 2  # the command line, or the cluster file, can't be used
NOT_AS_ASKED = 3  # the cluster, a node or a job isn't as it would have to be; nothing was started
PREEMPTED = 75  # as a rank says it, too: run me again, I go on from there
TIMED_OUT = 124  # --timeout, or the job's time limit
INTERRUPTED = 130  # Ctrl-C
KILLED_FOR_MEMORY = 137  # by SIGKILL
CANCELLED = 143  # by SIGTERM, which is what SLURM ends a cancelled job with


def by_signal(number: int) -> int:
    """The exit code of what a signal has ended, as shells have it."""
    return 128 + number
