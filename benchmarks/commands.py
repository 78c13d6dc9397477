"""Starting commands, seeing when their ranks did what, and ending all that they left.

Every command has a deadline, a session of its own and a mark in its environment; ``end`` kills
that session and whatever else carries the mark, and nothing besides.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import BenchError

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
PROGRAMS = HERE / "programs"
BIN = Path(sys.executable).parent
PEERS = PROJECT / ".venv-peers" / "bin"
MARK = "BENCHMARK_RUN"
DEADLINE_S = 180.0
# What a shell that runs inside a job of its own might have set, for which neither side asked.
FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")


def plaunch(*words: object) -> list[str]:
    """A ``plaunch`` command of this environment."""
    return [str(BIN / "plaunch"), "--quiet", *map(str, words)]


def torchrun(*words: object, env: Path = BIN) -> list[str]:
    """A ``torchrun`` command, of this environment unless another is given."""
    return [str(env / "torchrun"), *map(str, words)]


class Command:
    """A started command. ``started`` is the wall clock just before it was."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.argv = list(argv)
        self._log = cwd / f"log-{secrets.token_hex(3)}"
        self._mark = secrets.token_hex(8)
        whole = {k: v for k, v in os.environ.items() if k not in FOREIGN}
        whole |= {MARK: self._mark, **(env or {})}
        self.give_up = time.monotonic() + deadline_s
        with open(self._log, "wb") as log:
            self.started = time.time()
            self._process = subprocess.Popen(
                self.argv,
                cwd=cwd,
                env=whole,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def running(self) -> bool:
        """Whether the command itself still runs."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Its exit code. Raises BenchError after the deadline."""
        try:
            return self._process.wait(max(0.1, self.give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not end in time\n{self.last_words()}") from None

    def succeed(self) -> None:
        """Wait for it; raises BenchError unless it ended well."""
        code = self.wait()
        if code != 0:
            raise BenchError(f"{self.name} ended with {code}\n{self.last_words()}")

    @property
    def name(self) -> str:
        """The program's name."""
        return os.path.basename(self.argv[0])

    def last_words(self) -> str:
        """The end of what it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])

    def end(self) -> None:
        """Kill its session and all that carries its mark; afterwards nothing of it is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        give_up = time.monotonic() + 10
        while (left := _marked(self._mark)) and time.monotonic() < give_up:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def _marked(mark: str) -> list[int]:
    """Processes with our mark in their environment."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and wanted in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
    return found


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for one run: its working folder, where its ranks leave their marks."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def marks(where: Path, event: str, attempt: int = 0) -> list[dict[str, Any]]:
    """What ``programs/mark.py`` has left of an event, by rank."""
    found = []
    for path in where.glob(f"{event}-{attempt}-*.json"):
        with contextlib.suppress(OSError, json.JSONDecodeError):
            found.append(json.loads(path.read_text()))
    return sorted(found, key=lambda one: int(one["rank"]))


def all_marks(where: Path, event: str, count: int, attempt: int = 0) -> list[dict[str, Any]]:
    """The marks of all ranks; raises BenchError where some are missing."""
    found = marks(where, event, attempt)
    if len(found) != count:
        raise BenchError(f"{len(found)} of {count} ranks came to '{event}'")
    return found


def await_marks(command: Command, where: Path, event: str, count: int) -> list[dict[str, Any]]:
    """Wait until all ranks came to an event; raises BenchError when the command ends before."""
    while len(found := marks(where, event)) < count:
        if time.monotonic() > command.give_up or not command.running:
            raise BenchError(
                f"{command.name}: {len(found)} of {count} ranks came to '{event}'\n"
                + command.last_words()
            )
        time.sleep(0.01)
    return found


def seconds_to(
    argv: Sequence[str],
    event: str,
    count: int,
    env: Mapping[str, str] | None = None,
) -> float:
    """Run a command to its end; seconds from its start until the last rank came to an event."""
    with folder() as where, Command(argv, where, env) as command:
        command.succeed()
        return max(one["time"] for one in all_marks(where, event, count)) - command.started


def gone(pids: Sequence[int], give_up: float) -> float:
    """Watch processes until none runs (a zombie does not); the wall clock then."""
    left = list(pids)
    while left:
        if time.monotonic() > give_up:
            raise BenchError(f"{len(left)} of {len(pids)} ranks still run")
        left = [pid for pid in left if _runs(pid)]
        time.sleep(0.002)
    return time.time()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
