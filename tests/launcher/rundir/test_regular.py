"""Files that somebody has replaced by a pipe, a link or a device: nobody waits or follows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runtime.errors import CheckpointError
from engine.runtime.storage.run_folder import Index
from launcher.agent.forkserver import needs_cold as cold
from launcher.agent.forkserver import needs_compiler as compiler
from launcher.agent.node import probe
from launcher.cli.logs import start_of_last
from launcher.core.errors import RunDirError
from launcher.core.job import Job, Program
from launcher.core.regular import open_regular, read_regular
from launcher.rundir import snapshot as run_facts
from launcher.rundir.events import read_events
from launcher.rundir.records import read
from launcher.rundir.rundir import RunDir
from launcher.rundir.tail import Tail
from tests.launcher.support.runs import Launcher


def put(path: Path, kind: str) -> Path:
    """Something that is no plain file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else __file__)
    return path


@pytest.mark.parametrize("kind", ["pipe", "link", "device"])
def test_only_plain_files_are_opened(tmp_path: Path, kind: str) -> None:
    """For reading and for writing, at once, with an OSError that every caller expects."""
    path = put(tmp_path / "file", kind)
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_RDWR):
        with pytest.raises(OSError):
            open_regular(path, flags)
    with pytest.raises(OSError):
        read_regular(path)
    if kind != "link":
        with pytest.raises(OSError):
            read_regular(path, follow=True)


READERS: dict[str, Callable[[Path], object]] = {
    "job.json of a run": read,
    "the end of a log": lambda path: Tail(path).read(),
    "the last lines of a log": lambda path: start_of_last(path, 3),
    "a script, for its variables": lambda path: cold.wants_cold("script", str(path), "/"),
    "a script, for its imports": lambda path: compiler.wants_compiler(
        "script", str(path), (), "/", b"", None
    ),
    "a folder's owner": lambda path: probe._is_shared(str(path.parent), "j"),
    "the lock": lambda path: run_facts.life(path.parent, "host"),
}


@pytest.mark.parametrize("what", READERS)
def test_a_pipe_in_the_place_of_a_file_holds_up_no_reader(tmp_path: Path, what: str) -> None:
    """Agent, controller and `plaunch logs|status` find nothing there, and go on."""
    name = {"a folder's owner": "job.json", "the lock": "lock"}.get(what, "file")
    assert READERS[what](put(tmp_path / name, "pipe")) in (None, b"", 0, False, "never", "unknown")


def test_a_pipe_among_a_runs_files_is_said(tmp_path: Path) -> None:
    """Events can't be read or written: the run is refused; a log that can't: it is said once."""
    job = Job("j", Program("script", "t.py"), run_dir=str(tmp_path / "run"))
    events = put(tmp_path / "run" / "events.jsonl", "pipe")
    with pytest.raises(OSError):
        read_events(events)
    with pytest.raises(RunDirError, match="no plain file"):
        RunDir(job).open()
    events.unlink()
    rundir = RunDir(job)
    rundir.open()
    put(tmp_path / "run" / "logs" / "rank0.log", "pipe")
    rundir.log(0, "text")
    assert "can't write to" in (rundir.complaint() or "")
    rundir.close()


def test_the_engine_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    """In the place of the index of a fit's checkpoints."""
    put(tmp_path / "fit-0" / "engine.json", "pipe")
    with pytest.raises(CheckpointError, match="no plain file"):
        Index.of_fit(str(tmp_path), 0)


def test_a_rank_replaces_what_the_agent_reads(plaunch: Launcher) -> None:
    """A pipe as its error file, a link to another folder as the agent's own: the run ends well, and
    nothing behind the link is touched."""
    plaunch.write("precious/keep", "")
    plaunch.write(
        "main.py",
        """
        import os
        file = os.environ["TORCHELASTIC_ERROR_FILE"]
        os.mkfifo(file)
        if os.environ["RANK"] == "0":
            folder = os.path.dirname(file)
            os.rename(folder, folder + ".old")
            os.symlink(os.path.abspath("precious"), folder)
            open("moved", "w").write(folder)
        """,
    )
    done = plaunch("--start", "cold", "--procs", "1", "main.py").ok()
    assert (plaunch.folder / "precious" / "keep").exists(), done.err
    folder = Path((plaunch.folder / "moved").read_text())
    assert not folder.is_symlink()
    for path in Path(f"{folder}.old").iterdir():
        path.unlink()
    Path(f"{folder}.old").rmdir()
