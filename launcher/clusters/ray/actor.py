"""A Ray actor's code: it starts a node's agent and holds a pipe to it as long as it lives.

It travels to the nodes by value, so they need no installation of ours: standard library only, and
nothing of ours is imported.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

ERRORS_KEPT_BYTES = 10_000
END_S = 10.0  # for an agent to end, once its pipe is closed

# Ray names an actor's accelerators only in its process, not in the environment it started with.
DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


# What tells a process that it is a Ray worker, which the ranks are not.
OF_WORKERS = (
    "RAY_CLIENT_MODE",
    "RAY_JOB_ID",
    "RAY_LD_PRELOAD_ON_WORKERS",
    "RAY_RAYLET_PID",
    "SPT_NOENV",
)


class Holder:
    """Holds what a run has on one node. Its methods may be called from several threads."""

    def __init__(self, own_devices: bool) -> None:
        self._own_devices = own_devices
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def look(self) -> dict[str, str]:
        """Where it lives."""
        return {"python": sys.executable, "hostname": socket.gethostname()}

    def run(self, argv: Sequence[str], line: bytes) -> tuple[int, str]:
        """Start ``argv``, give it ``line``, and wait for its end: exit code and last words.

        Its standard input stays open until then, or until this process ends, however it does: so
        the agent notices. An agent that was started before is ended first.
        """
        with self._lock, tempfile.TemporaryFile() as errors:
            self.let_go()
            program, *words = argv
            child = self._child = subprocess.Popen(
                [os.path.expanduser(program), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._environment(),
                start_new_session=True,
            )
            with contextlib.suppress(OSError):  # Ray's workers are nicer than their raylet
                niceness = os.getpriority(os.PRIO_PROCESS, os.getppid())
                os.setpriority(os.PRIO_PROCESS, child.pid, niceness)
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(line)
                child.stdin.flush()
            said = os.dup(errors.fileno())
        code = child.wait()
        with os.fdopen(said, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - ERRORS_KEPT_BYTES))
            return code, file.read().decode(errors="replace")

    def let_go(self) -> None:
        """End the agent: close its pipe, and wait."""
        child = self._child
        if child is None:
            return
        assert child.stdin is not None
        with contextlib.suppress(OSError):
            child.stdin.close()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()  # the guard: its agent then ends everything
            child.wait()

    def _environment(self) -> dict[str, str]:
        """The node's own, without what Ray adds for its Python workers, but for the GPUs.

        Ray sets OMP_NUM_THREADS to the actor's CPUs and breakpoint() to its debugger.
        """
        with open("/proc/self/environ", "rb") as file:
            entries = (os.fsdecode(entry).partition("=") for entry in file.read().split(b"\0"))
            env = {name: value for name, _, value in entries if name not in ("", *OF_WORKERS)}
        if self._own_devices:
            env |= {name: os.environ[name] for name in DEVICES if name in os.environ}
        return env
