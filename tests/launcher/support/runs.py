"""Runs of the real ``plaunch`` command on this machine, for tests that look at what it does."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLAUNCH = str(Path(sys.executable).with_name("plaunch"))
DEADLINE_S = 90.0  # for anything that is waited for: generous, the machine may be busy
GONE_S = 15.0  # for the last process of a run to go


def until(what: Callable[[], Any], why: str, deadline_s: float = DEADLINE_S) -> Any:
    """Wait until ``what()`` is true and return it; fail after the deadline."""
    give_up = time.monotonic() + deadline_s
    while not (found := what()):
        assert time.monotonic() < give_up, f"waited {deadline_s:.0f} s in vain: {why}"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def carriers(name: str) -> list[int]:
    """Ids of the processes that were started with a variable of this name (or beginning)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if f"\0{name}".encode() in b"\0" + Path("/proc", entry, "environ").read_bytes():
                    found.append(int(entry))
    return [pid for pid in found if alive(pid)]


def command_line(pid: int) -> str:
    """A process's words, with blanks between them; empty if it is gone."""
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


@dataclass
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str
    result: dict[str, Any] | None
    run_dir: Path | None

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict; there must be one."""
        assert self.result is not None, self.err
        assert self.result["verdict"] is not None, self.result
        return dict(self.result["verdict"])

    @property
    def values(self) -> list[Any]:
        """The ranks' values; there must be a result."""
        assert self.result is not None, self.err
        return [rank["value"] for rank in self.result["ranks"]]

    def ok(self) -> Done:
        """The run itself, which must have succeeded."""
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self


@dataclass
class Run:
    """A ``plaunch`` that has been started. All its processes carry ``token``."""

    process: subprocess.Popen[bytes]
    folder: Path
    token: str
    number: int
    terminal: int | None = None
    codes: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The launcher's process id, which is also its process group's."""
        return self.process.pid

    @property
    def out(self) -> str:
        """What came to standard output so far."""
        return self._text("out")

    @property
    def err(self) -> str:
        """What came to standard error so far."""
        return self._text("err")

    def _text(self, name: str) -> str:
        path = self.folder / f".{name}-{self.number}"
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    def until(self, what: Callable[[], Any], why: str = "") -> Any:
        """Wait for something that must happen while the run goes on."""

        def look() -> Any:
            found = what()
            if not found and self.process.poll() is not None and not what():
                raise AssertionError(f"the run ended before {why}:\n{self.out}\n{self.err}")
            return found

        return until(look, f"{why}\n{self.out}\n{self.err}")

    def until_file(self, *names: str) -> list[str]:
        """Wait until a rank has written these files whole; returns their texts."""
        paths = [self.folder / name for name in names]
        self.until(lambda: all(path.exists() for path in paths), f"{', '.join(names)} is there")
        return [path.read_text() for path in paths]

    def signal(self, number: int) -> None:
        """Send a signal to the launcher alone."""
        self.process.send_signal(number)

    def type(self, text: bytes) -> None:
        """Type on the run's terminal."""
        assert self.terminal is not None
        os.write(self.terminal, text)

    def wait(self, deadline_s: float = DEADLINE_S) -> Done:
        """Wait for the end."""
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            rows = [f"{pid} {command_line(pid)[:120]}" for pid in carriers(self.token)]
            raise AssertionError(
                f"no end within {deadline_s:.0f} s\n{self.out}\n{self.err}\n" + "\n".join(rows)
            ) from None
        run_dir = self.run_dir
        path = None if run_dir is None else run_dir / "result.json"
        result = json.loads(path.read_text()) if path is not None and path.exists() else None
        return Done(code, self.out, self.err, result, run_dir)

    @property
    def run_dir(self) -> Path | None:
        """This run's folder, found by the launcher's process id."""
        for path in [*self.folder.glob("plaunch_runs/*/job.json"), *self.folder.glob("*/job.json")]:
            with contextlib.suppress(OSError, ValueError):
                if json.loads(path.read_text())["pid"] == self.pid:
                    return path.parent
        return None

    def processes(self) -> dict[int, str]:
        """All living processes of the run and their words."""
        return {pid: command_line(pid) for pid in carriers(self.token)}

    def nothing_left(self, deadline_s: float = GONE_S) -> None:
        """Wait until no process of the run is left."""
        until(
            lambda: not carriers(self.token),
            f"processes are left: {self.processes()}",
            deadline_s,
        )

    def end(self) -> None:
        """End whatever is left, by the ids of processes that carry our token."""
        for pid in carriers(self.token):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.terminal is not None:
            with contextlib.suppress(OSError):
                os.close(self.terminal)


class Launcher:
    """Starts runs in a folder of its own and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[Run] = []

    def write(self, name: str, source: str) -> str:
        """Write a program; returns its name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return name

    def start(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        terminal: bool = False,
        command: tuple[str, ...] | None = None,
        stdin: bytes | None = None,
        cwd: Path | None = None,
    ) -> Run:
        """Start ``plaunch words``; with a ``terminal`` it leads a session on one of its own."""
        token, number = f"RUN_TOKEN_{secrets.token_hex(8)}", len(self.runs)
        mine = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        argv = [*(command or (PLAUNCH,)), *words]
        files = [(self.folder / f".{name}-{number}").open("wb") for name in ("out", "err")]
        master = slave = None
        source: Any = subprocess.DEVNULL
        if terminal:
            master, slave = pty.openpty()
            source = slave
        elif stdin is not None:
            source = (self.folder / f".in-{number}").open("w+b")
            source.write(stdin)
            source.seek(0)
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd or self.folder,
                env={**mine, **(env or {}), token: "1"},
                stdin=source,
                stdout=files[0],
                stderr=files[1],
                start_new_session=True,
                preexec_fn=_take_terminal if terminal else None,
            )
        finally:
            for file in files:
                file.close()
            if slave is not None:
                os.close(slave)
            elif stdin is not None:
                source.close()
        run = Run(process, self.folder, token, number, master)
        self.runs.append(run)
        return run

    def __call__(self, *words: str, deadline_s: float = DEADLINE_S, **options: Any) -> Done:
        """Run ``plaunch words`` to its end."""
        run = self.start(*words, **options)
        done = run.wait(deadline_s)
        run.nothing_left()
        return done


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def launcher_in(folder: Path) -> Iterator[Launcher]:
    """A launcher; at the end no process of its runs may be left, and none is."""
    launcher = Launcher(folder)
    try:
        yield launcher
        for run in launcher.runs:
            assert run.process.poll() is not None, "the test did not wait for its run"
            run.nothing_left()
    finally:
        for run in launcher.runs:
            run.end()
