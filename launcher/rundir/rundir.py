"""The run's folder: job.json, events.jsonl, logs/ and result.json.

A run owns its folder by a lock while it lives. Running again with the same folder continues a job
that was cut short; one that succeeded, or another program, is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from launcher.core.errors import AlreadySucceeded, RunDirError
from launcher.core.job import Job, PastAttempt, Result
from launcher.rundir import files
from launcher.rundir.events import TELLING, drop_cut_line, former_attempts, read_events
from launcher.rundir.results import result_as_data

APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
LOOK_S = 0.5  # far longer than somebody who only looks holds the lock
INDENTED_BYTES = 1 << 20


def default_path(name: str, job_id: str) -> str:
    """``plaunch_runs/<time>-<name>-<job id>`` under the current folder."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", os.path.basename(name)).strip("-.") or "run"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return os.path.abspath(os.path.join("plaunch_runs", f"{stamp}-{stem[:40]}-{job_id}"))


def clean(value: Any) -> Any:
    """JSON data with NaN and infinities as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def write_whole(path: str | Path, value: Any, *, durable: bool = True) -> None:
    """Write JSON so that a reader finds all of it or none; ``durable``: also after a power cut."""
    plain = clean(value)
    text = json.dumps(plain)
    if len(text) < INDENTED_BYTES:  # what is meant for people; indents make deep data far larger
        text = json.dumps(plain, indent=1)
    files.make_folder(Path(path).parent)
    files.write_whole(path, f"{text}\n".encode("ascii"), durable=durable)


class RunDir:
    """A run's folder, ours until :meth:`close`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.path = Path(job.run_dir)
        self._told: list[dict[str, Any]] = []  # of attempts, since the run was begun
        self._logs: dict[int, IO[bytes]] = {}
        self._events: IO[str] | None = None
        self._lock: int | None = None
        self._broken: str | None = None
        self._complained = False
        self._made: list[Path] = []  # folders that were not there before
        self._former: dict[Path, bytes | None] = {}  # files as they were before
        self._started = False

    def open(self) -> None:
        """Make or take over the folder. Raises RunDirError."""
        try:
            logs = self.path / "logs"
            self._made = [path for path in (logs, *logs.parents) if not path.exists()]
            files.make_folder(logs)
            if logs.is_symlink():
                raise OSError(errno.ELOOP, "it is a link; remove it", str(logs))
            self._take_lock()
            self._check_former()
            self._begin()
        except OSError as error:
            self.close()
            self._remove_made()
            raise RunDirError(
                f"can't use {error.filename or self.path} for the run: {error.strerror}; choose "
                "another folder with --run-dir"
            ) from error
        except RunDirError:
            self.close()
            raise

    def _begin(self) -> None:
        self._former = {path: _content(path) for path in self._own_files()}
        for stale in self._result_files():
            stale.unlink(missing_ok=True)
        if not self.job.restart:
            self._open_events()
        write_whole(self.path / "job.json", describe(self.job), durable=False)

    def _open_events(self) -> None:
        events = self.path / "events.jsonl"
        drop_cut_line(events)
        self._told = [event for event in read_events(events) if event.get("event") in TELLING]
        self._events = os.fdopen(files.open_own(events, files.APPEND), "a")

    def start(self) -> None:
        """The first ranks are about to start: what ``--restart`` throws away goes now, not before.

        Raises RunDirError.
        """
        if self._started:
            return
        try:
            if self.job.restart:
                self._forget_former()
                self._open_events()
        except OSError as error:
            raise RunDirError(f"can't begin anew in {self.path}: {error}") from error
        self._started = True

    def abandon(self, problem: str) -> bool:
        """Nothing could be started: leave the folder as it was, or none where there was none.

        Returns whether that is so; else ranks have been started already, and ``problem`` is noted.
        """
        if self._started:
            self.event("not_started", problem=problem)
            return False
        was_there = self._former.get(self.path / "job.json") is not None
        with self._guard():
            for path, content in self._former.items():
                if content is None:
                    path.unlink(missing_ok=True)
                elif path.name != "events.jsonl":
                    files.write_whole(path, content)
            if not was_there and self._lock is not None:
                (self.path / "lock").unlink(missing_ok=True)
        if was_there:
            self.event("not_started", problem=problem)
        self._remove_made()
        return True

    def _remove_made(self) -> None:
        with contextlib.suppress(OSError):  # such as: somebody has put something into one
            for folder in self._made:
                folder.rmdir()

    def _own_files(self) -> list[Path]:
        return [self.path / name for name in ("job.json", "result.json", "events.jsonl")]

    def _result_files(self) -> list[Path]:
        asked_for = [Path(self.job.result_file)] if self.job.result_file else []
        return [self.path / "result.json", *asked_for]

    def _take_lock(self) -> None:
        # Ours alone: whoever can open it could hold it, and so keep the run from starting.
        self._lock = files.open_own(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError):  # of an older version, or another user's
            os.fchmod(self._lock, 0o600)
        if not _locked(self._lock):
            owner = os.read(self._lock, 200).decode(errors="replace").strip()
            raise RunDirError(
                f"another run owns {self.path} ({owner}): wait for it, end it, or choose another "
                "folder with --run-dir"
            )
        if not _is_still(self.path / "lock", self._lock):
            raise RunDirError(f"{self.path} is being removed: try again")
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"job {self.job.id}, process {os.getpid()}".encode(), 0)

    def check(self) -> None:
        """Refuse what can't be the run's folder, before anything is done. Raises RunDirError."""
        there = next(path for path in (self.path, *self.path.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise RunDirError(f"{there} is no folder: choose another one with --run-dir")
        self._check_former()

    def is_resumed(self) -> bool:
        """Whether a run is there that this one would go on with."""
        return not self.job.restart and (self.path / "job.json").exists()

    def _check_former(self) -> None:
        if self.job.restart or not (self.path / "job.json").exists():
            return
        from launcher.rundir.records import read_job, read_result  # not needed by a new run's start

        former = read_job(self.path)
        if former is None:
            return
        now = describe(self.job)
        for key, what in (
            ("program", "of another program"),
            ("args", "with other arguments"),
            ("compat", "with another --compat"),
        ):
            if former.get(key) != now[key]:
                raise RunDirError(
                    f"{self.path} belongs to a run {what}: choose another "
                    "folder, or begin anew with --restart"
                )
        result = read_result(self.path)
        if result is not None and result.get("state") == "succeeded":
            raise AlreadySucceeded(
                f"the run in {self.path} has succeeded: choose another folder, or begin anew with "
                "--restart",
                result,
                former,
            )

    def _forget_former(self) -> None:
        """Begin anew: what a former run left here goes, the folder itself stays."""
        for entry in self.path.iterdir():
            ours = re.fullmatch(r"fit-\d+", entry.name) and (entry / "engine.json").exists()
            if ours and entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
        for log in (self.path / "logs").glob("rank*.log"):
            log.unlink()
        (self.path / "events.jsonl").unlink(missing_ok=True)

    def event(self, name: str, **fields: Any) -> None:
        """Add one event (JSON data; never a secret or an environment value)."""
        record = {"time": round(time.time(), 3), "event": name, **fields}
        if name in TELLING:
            self._told.append(record)
        with self._guard():
            if self._events is not None:
                self._events.write(json.dumps(clean(record)) + "\n")
                self._events.flush()

    @property
    def history(self) -> tuple[PastAttempt, ...]:
        """All attempts since the run was begun, those of earlier launchers first."""
        return former_attempts(self._told)

    def log(self, rank: int, text: str) -> None:
        """Add text to a rank's file."""
        with self._guard():
            if rank not in self._logs:
                path = self.path / "logs" / f"rank{rank}.log"
                self._logs[rank] = os.fdopen(files.open_own(path, files.APPEND), "ab", 0)
            self._logs[rank].write(text.encode("utf-8", "surrogateescape"))

    def finish(self, result: Result) -> None:
        """Write ``result.json``, and the copy that ``--result`` asks for."""
        for path in self._result_files():
            try:
                write_whole(path, result_as_data(result))
            except OSError as error:
                self._broken = f"can't write {path}: {error.strerror}; the result is not kept there"
                self._complained = False  # whatever else was said

    def close(self) -> None:
        """Close all files and let the folder go."""
        files: list[IO[Any]] = [*self._logs.values()]
        if self._events is not None:
            files.append(self._events)
        for file in files:
            with contextlib.suppress(OSError):
                file.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def _guard(self, place: str | Path | None = None) -> Iterator[None]:
        """A full disk on this side must not end a training run elsewhere: say it once instead."""
        try:
            yield
        except OSError as error:
            place = place or self.path
            self._broken = f"can't write to {place}: {error.strerror}; the run goes on"

    def complaint(self) -> str | None:
        """What went wrong in writing, for a person to read; said once."""
        if self._broken is None or self._complained:
            return None
        self._complained = True
        return self._broken


def _locked(fd: int) -> bool:
    """Take the lock; tries for a moment, since `plaunch status` holds it while it looks."""
    give_up = time.monotonic() + LOOK_S
    while True:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)


def _is_still(path: Path, fd: int) -> bool:
    """Whether an open file still has this name: `plaunch prune` may have been here."""
    with contextlib.suppress(OSError):
        named, mine = os.lstat(path), os.fstat(fd)
        return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)
    return False


def _content(path: Path) -> bytes | None:
    """What is in a file before the run; of the events only whether there are any."""
    if path.name == "events.jsonl":
        return b"" if path.exists() else None
    try:
        return files.read_whole(path, files.RESULT_BYTES)
    except FileNotFoundError:
        return None


def describe(job: Job) -> dict[str, Any]:
    """What ``job.json`` says of a run: no environment values."""
    return {
        "job_id": job.id,
        "program": f"{job.program.kind} {job.program.target}",
        "args": list(job.program.args),
        "compat": job.program.compat,
        "nodes": [job.min_nodes, job.max_nodes],
        "gpus": job.gpus,
        "procs": job.procs,
        "max_restarts": job.max_restarts,
        "grace_s": job.grace_s,
        "env": sorted(job.env),
        "started": time.time(),
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),  # of the task itself, in an array
    }
