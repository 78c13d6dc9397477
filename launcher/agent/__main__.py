"""Guard and agent: two processes, each of which ends the run's processes when the other is gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import traceback
from typing import Any

from launcher.agent import health


def guarded(config: dict[str, Any], sources: dict[str, str]) -> int:
    """Fork the agent and wait for it; returns the guard's exit code.

    The agent learns of the guard's end by a pipe, never by a parent-death signal, so that it can
    still end its ranks in order.
    """
    health.become_subreaper()
    alive_read, alive_write = os.pipe()
    folder = tempfile.mkdtemp(prefix="plaunch-")
    pid = os.fork()
    if pid == 0:
        os.close(alive_write)
        code = 1
        try:
            code = _run_agent(config, sources, alive_read, folder)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    os.close(alive_read)
    try:
        return _guard(pid, health.marker(config["job_id"], config["node_rank"]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_agent(config: dict[str, Any], sources: dict[str, str], guard: int, folder: str) -> int:
    from launcher.agent.agent import Agent

    os.setsid()
    health.become_subreaper()
    return Agent(config, sources, guard, folder).run()


def _guard(agent: int, mark: str) -> int:
    for fd in (0, 1):
        os.close(fd)  # the stream's end must be seen when the agent ends
        os.open(os.devnull, os.O_RDWR)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent, number)

    signal.signal(signal.SIGTERM, pass_on)
    status = None
    while status is None:
        pid, found = os.waitpid(-1, 0)
        if pid == agent:
            status = found
    health.sweep(mark, reap=health.reap)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
