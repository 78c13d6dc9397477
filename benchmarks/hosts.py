"""A command on real hosts of the testbed, and when its ranks did what."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.commands import marks
from benchmarks.rows import BenchError
from tests.testbed import HostProcess, Testbed, wait_until

DEADLINE_S = 120.0


class Run:
    """A command on one of the hosts; its ranks leave their marks in a folder of all hosts.

    ``tidy`` is called when it is over, whatever became of it: afterwards nothing of it is left.
    """

    def __init__(
        self,
        bed: Testbed,
        argv: Sequence[str],
        *,
        host: int = 0,
        env: Mapping[str, str] | None = None,
        tidy: Callable[[], None] | None = None,
    ) -> None:
        self._tidy = tidy or (lambda: crash_unless_empty(bed))
        name = f"marks-{time.monotonic_ns()}"
        self.where = bed.shared / name
        self.where.mkdir()
        self._log = open(self.where / "log", "wb")  # noqa: SIM115 - closed with the run
        self.started = time.time()
        self.process: Any = bed.run(
            host,
            argv,
            cwd="/tmp",
            env={"BENCHMARK_MARKS": f"/shared/{name}", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(20)
        self._log.close()
        self._tidy()
        shutil.rmtree(self.where, ignore_errors=True)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Its exit code. Raises BenchError after the deadline."""
        try:
            return int(self.process.wait(deadline_s))
        except subprocess.TimeoutExpired:
            raise self.fail(f"it did not end within {deadline_s:.0f} s") from None

    def all_marks(
        self, event: str, count: int, deadline_s: float = DEADLINE_S
    ) -> list[dict[str, Any]]:
        """Wait for its end; the marks of all ranks. Raises BenchError where some are missing."""
        self.wait(deadline_s)
        if len(found := marks(self.where, event)) < count:
            raise self.fail(f"{len(found)} of {count} ranks came to '{event}'")
        return found

    def fail(self, problem: str) -> BenchError:
        """The problem, with the command's last words."""
        text = (self.where / "log").read_text(errors="replace")
        return BenchError(problem + "\n" + "\n".join(text.splitlines()[-12:]))


def processes(bed: Testbed) -> list[tuple[str, HostProcess]]:
    """All processes of all hosts, each with its host's name."""
    names = [f"host{number}" for number in range(bed.num_hosts + 1)]
    return [(name, process) for name in names for process in bed.processes(name)]


def crash_unless_empty(bed: Testbed) -> None:
    """Wait until no process is left on any host; after a while start all hosts anew."""
    try:
        wait_until(lambda: not processes(bed), "every host is empty", 5)
    except TimeoutError:
        for number in range(bed.num_hosts + 1):
            bed.crash(number)
        bed.restore()
