"""The index of a user's runs: what it keeps, what finds a run, and that it never fails one."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.rundir import index
from launcher.rundir.index import Entry


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, not made yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "plaunch" / "jobs"


def an_entry(run_dir: str = "/runs/a", **changes: Any) -> Entry:
    values = {"job_id": "0a1b2c3d", "cluster": "local", "host": "h", "pid": 7, "started": 5.0}
    return Entry(run_dir, **{**values, **changes})


def test_written_and_read_again(state: Path) -> None:
    """An entry comes back as it was; nobody else can read it, and nothing else is left."""
    entry = an_entry(slurm="12_3", program="train.py", out="/o", err="/e")
    index.record(entry)
    assert index.entries() == [entry]
    (path,) = state.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.parametrize("home", [None, "", "not/absolute"])
def test_where_it_is(home: str | None) -> None:
    """Without an absolute XDG_STATE_HOME it is in the home folder."""
    env = {} if home is None else {"XDG_STATE_HOME": home}
    assert index.folder(env) == Path("~/.local/state/plaunch/jobs").expanduser()


def test_the_newest_first_and_one_a_folder() -> None:
    """Running again in the same folder is the same entry, with what is true now."""
    index.record(an_entry("/runs/a", started=1.0))
    index.record(an_entry("/runs/b", started=2.0, job_id="b"))
    index.record(an_entry("/runs/a", started=3.0, job_id="c"))
    assert [(entry.run_dir, entry.job_id) for entry in index.entries()] == [
        ("/runs/a", "c"),
        ("/runs/b", "b"),
    ]


def test_a_submitted_job_that_begins() -> None:
    """What was noted when it was submitted is kept; what is known now is added."""
    queued = an_entry(cluster="slurm", slurm="12", job_id=None, host="", pid=None, out="/o")
    index.record(queued)
    index.record(an_entry(cluster="slurm", slurm="12", started=9.0))
    (entry,) = index.entries()
    assert (entry.out, entry.job_id, entry.pid, entry.started) == ("/o", "0a1b2c3d", 7, 9.0)


def test_a_later_local_run_in_that_folder_is_no_slurm_job() -> None:
    """Its entry says nothing of the batch job that had the folder before."""
    index.record(an_entry(cluster="slurm", slurm="12", out="/o"))
    index.record(an_entry(job_id="new"))
    (entry,) = index.entries()
    assert (entry.slurm, entry.out, entry.cluster) == (None, None, "local")


def test_what_finds_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id or the beginning of it, SLURM's id, an array's id (all its tasks), or its folder."""
    a = an_entry(str(tmp_path / "a"), job_id="aaaa1111")
    tasks = [an_entry(f"/runs/{n}", job_id=f"bbbb000{n}", slurm=f"10_{n}") for n in (1, 2)]
    plain = an_entry("/runs/p", job_id="10101010", slurm="1010")
    for entry in (a, *tasks, plain):
        index.record(entry)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("a")
    assert index.find("aaaa1111") == index.find("aaaa") == [a]
    assert index.find("a") == index.find("./a/") == index.find("link") == [a]
    assert index.find("10_2") == [tasks[1]]
    assert index.find("1010") == [plain]
    assert {entry.slurm for entry in index.find("10")} == {"10_1", "10_2"}
    assert index.find("aaa") == index.find("nothing") == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"run_dir": 5, "cluster": "x"}', '{"cluster": "x"}',
     '{"run_dir": "/a", "cluster": "local", "pid": "7"}',
     '{"run_dir": "/a", "cluster": "local", "started": null}', b"\xff"],
)  # fmt: skip
def test_a_broken_file_hides_nothing_else(state: Path, content: str | bytes) -> None:
    """Whatever else lies in the folder, the good entries are found."""
    index.record(an_entry())
    (state / "broken.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    (state / "folder.json").mkdir()
    assert index.entries() == [an_entry()]


def test_a_field_of_a_later_version(state: Path) -> None:
    """An entry with more fields than we know is an entry."""
    index.record(an_entry())
    (path,) = state.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    assert index.entries() == [an_entry()]


def test_no_run_fails_because_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder that can't be made is no error; nothing is found there."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    index.record(an_entry())
    assert index.entries() == []


def test_old_ones_are_forgotten(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number that is kept, the old go; the young stay until there are far too many."""
    monkeypatch.setattr(index, "KEPT", 3)
    monkeypatch.setattr(index, "MOST", 6)
    for number in range(5):
        index.record(an_entry(f"/runs/{number}", job_id=f"old{number}"))
        (path,) = [p for p in state.iterdir() if f"/runs/{number}" in p.read_text()]
        long_ago = time.time() - 30 * 86400 + number
        os.utime(path, (long_ago, long_ago))
    index.record(an_entry("/runs/new"))
    assert {e.run_dir for e in index.entries()} == {"/runs/new", "/runs/4", "/runs/3"}
    for number in range(10, 20):
        index.record(an_entry(f"/runs/{number}"))
    assert len(index.entries()) == 6
