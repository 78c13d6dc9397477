"""Files in folders where others can write: links, pipes and umasks lead nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.node import gpu_lease
from launcher.core.errors import RunDirError
from launcher.core.job import Job, Program
from launcher.rundir import files, index, records
from launcher.rundir import snapshot as run_facts
from launcher.rundir.events import read_events
from launcher.rundir.rundir import RunDir, write_whole
from launcher.rundir.tail import Tail
from tests.launcher.support.runs import Launcher


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of ours that an attacker would like to have overwritten."""
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Nothing here may wait: a pipe that is opened the wrong way would wait for ever."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    former = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    former = os.umask(mask)
    try:
        yield
    finally:
        os.umask(former)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


TRAPS: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda place, victim: place.symlink_to(victim),
    "dangling": lambda place, victim: place.symlink_to(victim.with_name("new")),
    "hard link": lambda place, victim: place.hardlink_to(victim),
    "pipe": lambda place, _: os.mkfifo(place),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_written_file_replaces_what_stood_there(tmp_path: Path, victim: Path, trap: str) -> None:
    """A result is written under a name that nobody can foresee, and never through a link."""
    target = tmp_path / "r.json"
    (tmp_path / f".r.json.{os.getpid()}").symlink_to(victim)  # what was once foreseen
    TRAPS[trap](target, victim)
    if trap == "pipe":
        with pytest.raises(OSError, match="no plain file"):
            write_whole(target, {"a": 1})
    else:
        write_whole(target, {"a": 1})
        assert json.loads(target.read_text()) == {"a": 1}
        assert not target.is_symlink()
    assert victim.read_text() == "precious"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", ["lock", "events.jsonl", "logs"])
def test_a_run_folder_with_a_trap_is_refused(
    tmp_path: Path, victim: Path, trap: str, name: str
) -> None:
    """Locks, events and logs are never written through what somebody has put there."""
    folder = tmp_path / "run"
    folder.mkdir()
    if trap == "link" and name == "logs":
        (tmp_path / "elsewhere").mkdir()
        (folder / name).symlink_to(tmp_path / "elsewhere")
    else:
        TRAPS[trap](folder / name, victim)
    rundir = RunDir(Job("j", Program("script", "t.py"), run_dir=str(folder)))
    with pytest.raises(RunDirError, match="can't use .*run/" + name):
        rundir.open()
    assert victim.read_text() == "precious"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("trap", TRAPS)
def test_a_rank_log_with_a_trap_is_said(tmp_path: Path, victim: Path, trap: str) -> None:
    """The run goes on without that log, and says so once."""
    rundir = RunDir(Job("j", Program("script", "t.py"), run_dir=str(tmp_path / "run")))
    rundir.open()
    TRAPS[trap](tmp_path / "run/logs/rank0.log", victim)
    rundir.log(0, "evil\n")
    rundir.close()
    assert victim.read_text() == "precious"
    assert "can't write to" in (rundir.complaint() or "")


@pytest.mark.parametrize("trap", ["link", "hard link", "pipe"])
def test_a_lease_is_no_way_to_empty_a_file(lease_dir: Path, victim: Path, trap: str) -> None:
    """Whatever stands in a lease's place is left as it is; the GPU is granted without a lease."""
    lease_dir.mkdir()
    TRAPS[trap](lease_dir / "GPU-a.lock", victim)
    lease = gpu_lease.Lease("j")
    assert lease.take(["GPU-a"]) == (("GPU-a",), ())
    assert lease.problem
    assert victim.read_text() == "precious"


def test_what_is_read_is_no_pipe_and_has_an_end(tmp_path: Path) -> None:
    """Looking at a run waits for nothing and reads no more than there can be."""
    for name in ("job.json", "result.json", "events.jsonl", "lock"):
        os.mkfifo(tmp_path / name)
    os.mkfifo(tmp_path / "rank0.log")
    assert records.read_job(tmp_path) is None
    assert run_facts.snapshot(tmp_path).state == "missing"
    assert run_facts.life(tmp_path, "") == "unknown"
    assert Tail(tmp_path / "rank0.log").read() == b""
    assert Tail(Path("/dev/zero")).read() == b""
    with pytest.raises(OSError, match="no plain file"):
        read_events(tmp_path / "events.jsonl")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(files.JSON_BYTES + 1)
    assert records.read(large) is None


def test_a_folder_of_events_without_end(tmp_path: Path) -> None:
    """Of a file that is far too large its beginning and end are read; nonsense is left out."""
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.write(
            b'{"event": "attempt", "time": 1}\n{"event": "step", "step": "x", "time": NaN}\n'
        )
        file.write(b'{"a": ' + b"[" * 100_000 + b"\n")
        file.truncate(1 << 34)
        file.seek(0, 2)
        file.write(b'\n{"event": "succeeded", "time": 2}\n')
    found = [event for event in read_events(path) if event]
    assert found == [
        {"event": "attempt", "time": 1},
        {"event": "step"},
        {"event": "succeeded", "time": 2},
    ]


@pytest.mark.parametrize(
    "result",
    [
        {"state": "succeeded", "seconds": "x", "attempts": "many", "nodes": 3, "verdict": "no"},
        {"state": ["succeeded"]},
        {"state": "failed", "seconds": 1e400, "world_size": -1, "nodes": [3], "ranks": {}},
        {"state": "failed", "verdict": {"kind": 3}, "exit_code": None, "history": [[]]},
    ],
)
def test_status_of_a_folder_that_lies(plaunch: Launcher, result: Any) -> None:
    """`plaunch status` shows what makes sense of a foreign folder, and has no traceback."""
    folder = plaunch.folder / "run"
    folder.mkdir()
    job = {"job_id": "j1", "program": 3, "args": 5, "started": 1e300, "pid": "x", "host": [1]}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "result.json").write_text(json.dumps(result))
    events = ['{"event": ["x"], "time": "now"}', '{"event": "step", "step": {}}']
    (folder / "events.jsonl").write_text("\n".join(events) + "\n")
    for more in ([], ["--json"]):
        done = plaunch("status", "run", *more)
        assert (done.code, "Traceback" in done.err) == (0, False), done.err


def test_no_umask_opens_a_folder_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under umask 000 nobody else can write; the lock, the index and a function are ours alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state" / "home"))
    with umask(0):
        tmp_path.chmod(0o755)
        rundir = RunDir(Job("j", Program("script", "t.py"), run_dir=str(tmp_path / "runs" / "run")))
        rundir.open()
        rundir.event("x")
        rundir.log(0, "line\n")
        rundir.close()
        write_whole(tmp_path / "r.json", {})
        index.record(index.Entry("/run", "local"))
    run, state = tmp_path / "runs/run", tmp_path / "state"
    for folder in (run.parent, run, run / "logs", state, state / "home", state / "home/plaunch"):
        assert mode(folder) == 0o755, folder
    assert mode(state / "home/plaunch/jobs") == 0o700
    assert mode(run / "lock") == 0o600
    for file in (
        run / "job.json",
        run / "events.jsonl",
        run / "logs/rank0.log",
        tmp_path / "r.json",
    ):
        assert mode(file) == 0o644, file


@pytest.mark.parametrize(
    ("parent", "mask", "folder", "file"),
    [
        (0o2775, 0o002, 0o2775, 0o664),
        (0o2775, 0o022, 0o2755, 0o644),
        (0o2775, 0o077, 0o2700, 0o600),
        (0o755, 0o002, 0o755, 0o644),
        (0o1777, 0o000, 0o755, 0o644),
    ],
)
def test_a_project_of_a_group_is_shared(
    tmp_path: Path, parent: int, mask: int, folder: int, file: int
) -> None:
    """The group may write where it may write in the folder around, if the umask lets it."""
    project = tmp_path / "project"
    project.mkdir()
    project.chmod(parent)
    with umask(mask):
        files.make_folder(project / "run")
        files.write_whole(project / "run" / "x", b"", durable=False)
    assert mode(project / "run") == folder
    assert mode(project / "run" / "x") == file


def test_another_user_can_not_hold_the_lock(tmp_path: Path) -> None:
    """Nobody else can open the lock, and so keep the owner from the folder, also an older one."""
    if os.getuid() != 0:
        pytest.skip("needs root: two users")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lock").write_text("")
    (folder / "lock").chmod(0o666)
    for path in (folder, *folder.parents[:-1]):
        path.chmod(path.stat().st_mode | 0o055)
    rundir = RunDir(Job("j", Program("script", "t.py"), run_dir=str(folder)))
    rundir.open()
    rundir.close()
    code = f"import os; os.setuid(65534); os.open({str(folder / 'lock')!r}, os.O_RDONLY)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "PermissionError" in done.stderr


def test_reading_follows_no_link(tmp_path: Path) -> None:
    """A rank may have put one in the place of its log, or of the run's result."""
    (tmp_path / "victim").write_text("secret")
    (tmp_path / "rank0.log").symlink_to("victim")
    with pytest.raises(OSError, match="Too many levels"):
        files.read_whole(tmp_path / "rank0.log", 100)
    assert Tail(tmp_path / "rank0.log").read() == b""
