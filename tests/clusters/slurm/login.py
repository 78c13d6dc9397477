"""Runs that are submitted from the testbed's login host, as tests see them."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.testbed import Slurm, wait_until

# What a terminal does for a command: Ctrl-C becomes a signal, and a person can be asked.
_ON_A_TERMINAL = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"


class LoginRun:
    """``plaunch --cluster slurm ...`` on the login host, in a shared folder of its own.

    Its standard output and error are kept apart, but for a ``terminal``, which has one of both.
    """

    def __init__(
        self,
        slurm: Slurm,
        *words: str,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        terminal: bool = False,
        command: tuple[str, ...] = ("plaunch", "--cluster", "slurm"),
        folder: str | None = None,
    ) -> None:
        self.slurm = slurm
        self.inside = folder or f"/shared/login-{uuid.uuid4().hex[:8]}"
        self.folder = slurm.testbed.shared / Path(self.inside).name
        self.folder.mkdir(exist_ok=True)
        for name, text in (files or {}).items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        argv = ["python", "-c", _ON_A_TERMINAL] if terminal else []
        self.process = slurm.testbed.run(
            "host0",
            [*argv, *command, *words],
            cwd=self.inside,
            env=env,
            stdin=subprocess.PIPE if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._texts = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True) for name in self._texts
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> "LoginRun":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(20)
        for reader in self._readers:
            reader.join(20)
        print(self.out, self.err, sep="\n--- err:\n")  # pytest shows it when the test has failed

    def _read(self, name: str) -> None:
        stream = self.process.stdout if name == "out" else self.process.stderr
        assert stream is not None
        with stream:
            while data := os.read(stream.fileno(), 65536):
                self._texts[name] += data

    @property
    def out(self) -> str:
        """What came to standard output so far."""
        return self._texts["out"].decode(errors="replace")

    @property
    def err(self) -> str:
        """What came to standard error so far."""
        return self._texts["err"].decode(errors="replace")

    def until(self, words: str, timeout_s: float = 60) -> None:
        """Wait until these words have been printed."""
        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: words in self.out + self.err or self.process.poll() is not None,
                words,
                timeout_s,
            )
        time.sleep(0.05 if self.process.poll() is not None else 0)  # for the last words
        assert words in self.out + self.err, f"{words!r} is not in\n{self.out}\n{self.err}"

    def wait(self, timeout_s: float = 90) -> int:
        """Wait for the end; returns the exit code."""
        code = int(self.process.wait(timeout_s))
        for reader in self._readers:
            reader.join(20)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self.process.send_signal(number)

    def type(self, text: bytes) -> None:
        """Type on the terminal."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    @property
    def job(self) -> str:
        """The job's number."""
        self.until("is in the queue")
        return (
            self.err.partition("plaunch: job ")[2].partition(" ")[0]
            or (self.out.partition("plaunch: job ")[2].partition(" ")[0])
        )

    def state(self) -> str:
        """The job's state, as SLURM calls it."""
        return self.slurm.job(self.job)["JobState"]

    def wait_for(self, *states: str) -> None:
        """Wait until the job is in one of these states."""
        self.slurm.wait_for(self.job, states)

    def result(self, file: str = "result.json") -> dict[str, Any]:
        """A result that was asked for by ``--result``."""
        found: dict[str, Any] = json.loads((self.folder / file).read_text())
        return found


def jobs(slurm: Slurm) -> list[str]:
    """The ids of all jobs in the queue."""
    return slurm.testbed.call("host0", ["squeue", "-h", "-o", "%i"]).stdout.split()
