"""A run of plaunch on the testbed, as tests see it: its words, its result, its processes."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.testbed import HostProcess, Testbed

PROJECT = Path(__file__).parents[2]
PROGRAMS = PROJECT / "tests/clusters/programs"


class Run:
    """``plaunch --hosts host1,...`` started on the login host, with a shared run folder.

    ``before`` are words before it, such as ``salloc``'s; ``on`` is another host to start it on.
    """

    def __init__(
        self,
        testbed: Testbed,
        *words: str,
        hosts: str = "host[1-4]",
        procs: int | None = 2,
        before: Sequence[str] = (),
        on: str = "host0",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.testbed, self.procs = testbed, procs
        name = f"run-{uuid.uuid4().hex[:8]}"
        self.folder = testbed.shared / name
        self.lines: list[str] = []
        self._more = threading.Condition()
        argv = [*before, "plaunch", "--run-dir", f"/shared/{name}"]
        if procs is not None:
            argv += ["--procs", str(procs)]
        if hosts:
            argv += ["--hosts", hosts]
        self.process = testbed.run(
            on,
            [*argv, *words],
            cwd="/shared",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(20)
        self._reader.join(20)
        print("\n".join(self.lines))  # pytest shows it when the test has failed

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as words:
            for line in words:
                with self._more:
                    self.lines.append(line.rstrip("\n"))
                    self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, pattern: str, count: int = 1, timeout_s: float = 90) -> list[re.Match[str]]:
        """Wait until ``count`` lines match; returns the matches."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while True:
                found = [match for line in self.lines if (match := re.search(pattern, line))]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left < 0 or not self._reader.is_alive():
                    why = f"not within {timeout_s:g} s" if left < 0 else "plaunch ended"
                    raise AssertionError(f"{why}: {count} lines like {pattern!r}")
                self._more.wait(min(left, 1))

    def wait(self, timeout_s: float) -> int:
        """Wait for plaunch to end; returns its exit code."""
        return int(self.process.wait(timeout_s))

    @property
    def result(self) -> dict[str, Any]:
        """What result.json holds."""
        loaded: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return loaded

    @property
    def verdict(self) -> dict[str, Any]:
        """The result's verdict; there must be one."""
        found: dict[str, Any] = self.result["verdict"]
        assert found is not None
        return found

    def processes(self, hosts: Sequence[int] = (1, 2, 3, 4)) -> list[HostProcess]:
        """The processes of these hosts: nothing else runs on them."""
        return [process for host in hosts for process in self.testbed.processes(host)]

    def rank(self, rank: int) -> HostProcess:
        """A rank's process, after it has said which it is (see train_on.py)."""
        number = int(self.wait_for(rf"rank {rank} is process (\d+)")[0][1])
        host = rank // self.procs + 1
        return next(p for p in self.testbed.processes(host) if p.host_pid == number)

    def agent(self, host: int) -> HostProcess:
        """A host's agent: an isolated Python whose parent, the guard, is one too."""
        isolated = {p.pid: p for p in self.testbed.processes(host) if "-I" in p.cmdline}
        return next(p for p in isolated.values() if p.parent in isolated)

    def guard(self, host: int) -> HostProcess:
        """The parent of a host's agent."""
        agent = self.agent(host)
        return next(p for p in self.testbed.processes(host) if p.pid == agent.parent)


def kill(process: HostProcess) -> None:
    """kill -9."""
    os.kill(process.pid, signal.SIGKILL)
