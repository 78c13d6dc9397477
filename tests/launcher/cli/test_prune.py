"""`plaunch prune`: what it removes, and all that it must leave alone."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.prune import prune, seconds_of, size_words
from launcher.core.console.console import Output
from launcher.core.job import Job, Program, Result
from launcher.request.request import make_id
from launcher.rundir import index
from launcher.rundir.rundir import RunDir, default_path
from tests.launcher.support.runs import Launcher

DAY_S = 86400.0


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, and a state folder, of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def a_run(
    state: Any = "succeeded", *, days: float = 40, run_dir: str | None = None, known: bool = True
) -> Path:
    """A run that ended so many days ago; None as its state: it died."""
    job_id = make_id()
    job = Job(job_id, Program("script", "t.py"), run_dir=run_dir or default_path("t.py", job_id))
    rundir = RunDir(job)
    rundir.open()
    rundir.start()
    rundir.event("attempt", attempt=1)
    rundir.log(0, "x" * 100_000)
    if state is not None:
        rundir.finish(Result(job_id, state, 0, 1, 0, 1, 1.0, (), (), None, job.run_dir))
    rundir.close()
    then = time.time() - days * DAY_S
    events = rundir.path / "events.jsonl"
    events.write_text(json.dumps({"time": then, "event": "attempt", "attempt": 1}) + "\n")
    for file in rundir.path.rglob("*"):
        os.utime(file, (then, then))
    if known:
        index.record(
            index.Entry(job.run_dir, "local", job_id, os.uname().nodename, 1, then, program="t.py")
        )
    return rundir.path


def pruned(days: float = 30, **options: Any) -> tuple[list[dict[str, Any]], int]:
    """What it tells as data, and its exit code."""
    out = io.StringIO()
    given = {"failed": False, "dry_run": False, **options}
    code = prune(days * DAY_S, Output(out, io.StringIO()), as_json=True, **given)
    return json.loads(out.getvalue()), code


def test_old_runs_are_removed() -> None:
    """Whatever their end was, with what they wrote; young ones stay; what is freed is told."""
    old = [a_run(state) for state in ("succeeded", "failed", "preempted", "cancelled", None)]
    (old[0] / "fit-0" / "checkpoints").mkdir(parents=True)
    (old[0] / "fit-0" / "checkpoints" / "last.ckpt").write_bytes(b"x" * 1_000_000)
    (old[0] / "of the program.txt").touch()
    young = a_run(days=3)
    rows, code = pruned()
    assert code == 0
    assert sorted(row["run_dir"] for row in rows) == sorted(map(str, old))
    assert all(row["removed"] for row in rows)
    assert next(row["bytes"] for row in rows if row["run_dir"] == str(old[0])) > 1_000_000
    assert not any(path.exists() for path in old)
    assert young.exists()
    assert [entry.run_dir for entry in index.entries()] == [str(young)]


def test_only_those_that_failed() -> None:
    """Or died: nobody needs their folders to go on."""
    failed, died, kept = a_run("failed"), a_run(None), a_run("succeeded")
    rows, _ = pruned(failed=True)
    assert {row["state"] for row in rows} == {"failed", "died"}
    assert (failed.exists(), died.exists(), kept.exists()) == (False, False, True)


def test_a_dry_run_removes_nothing() -> None:
    """It tells what would be."""
    old = a_run()
    rows, _ = pruned(dry_run=True)
    assert [(row["run_dir"], row["removed"]) for row in rows] == [(str(old), False)]
    assert rows[0]["bytes"] > 100_000
    assert (old / "result.json").exists()
    assert len(index.entries()) == 1


def test_runs_that_the_index_has_forgotten() -> None:
    """Those in the current folder's plaunch_runs are found all the same."""
    old = a_run(known=False)
    pruned()
    assert not old.exists()


def test_a_run_that_goes_on_is_left_alone() -> None:
    """Whatever its age: somebody holds its lock."""
    old = a_run("failed")
    rundir = RunDir(Job("j2", Program("script", "t.py"), run_dir=str(old)))
    rundir.open()
    try:
        os.utime(old / "job.json", (1, 1))
        assert pruned() == ([], 0)
        (old / "result.json").write_text('{"state": "failed"}')  # it is about to end
        os.utime(old / "result.json", (1, 1))
        rows, code = pruned()
        assert (rows[0]["removed"], rows[0]["reason"], code) == (False, "it runs", 3)
    finally:
        rundir.close()
    assert old.exists()


def test_a_folder_that_the_user_has_named(place: Path) -> None:
    """Only what plaunch and the engine wrote goes; what else is there stays."""
    folder = a_run(run_dir=str(place / "mine"))
    for inner in ("fit-0", "fit-1", "model"):
        (folder / inner / "checkpoints").mkdir(parents=True)
        (folder / inner / "checkpoints" / "a.ckpt").touch()
        (folder / inner / "engine.json").write_text('{"checkpoints": [], "complete": false}')
    (folder / "fit-1" / "mine.npy").touch()
    for mine in (".env.1", ".zcompdump-vm-5.8"):
        (folder / mine).touch()
    (folder / ".result.json.0123456789abcdef").touch()
    (folder / "data").mkdir()
    (folder / "thesis.tex").write_text("years of work")
    (folder / "logs" / "notes.txt").write_text("mine, too")
    rows, code = pruned()
    assert (rows[0]["removed"], code) == (True, 0)
    assert "was left" in rows[0]["reason"]
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert left == [
        ".env.1", ".zcompdump-vm-5.8", "data", "fit-1", "fit-1/mine.npy", "logs", "logs/notes.txt",
        "model", "model/checkpoints", "model/checkpoints/a.ckpt", "model/engine.json", "thesis.tex",
    ]  # fmt: skip
    alone = a_run(run_dir=str(place / "alone"))
    pruned()
    assert not alone.exists()
    assert place.exists()


def test_links_are_not_followed(place: Path) -> None:
    """Neither in the folder, nor in the place of it, of its files, or of the folder above."""
    outside = place / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    inside = a_run()
    (inside / "link").symlink_to(outside)
    (inside / "logs" / "link").symlink_to(outside / "precious")
    pruned()
    assert not inside.exists()
    assert (outside / "precious").exists()

    moved = a_run()
    moved.rename(place / "elsewhere")
    moved.symlink_to(place / "elsewhere")
    rows, code = pruned()
    assert (rows[0]["removed"], code) == (False, 3)
    assert (place / "elsewhere" / "job.json").exists()

    user = a_run(run_dir=str(place / "mine"))
    (user / "logs").rename(place / "my logs")
    (user / "logs").symlink_to(place / "my logs")
    (user / "fit-0").symlink_to(outside)
    (outside / "engine.json").write_text("{}")
    pruned()
    assert (place / "my logs" / "rank0.log").exists()
    assert (outside / "precious").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: (run / "job.json").write_text('{"name": "a package of npm"}'),
        lambda run: (run / "lock").unlink(),
        lambda run: os.chown(run, 12345, 12345),
        lambda run: ((run / "lock").unlink(), os.mkfifo(run / "lock")),
    ],
    ids=["another job.json", "no lock", "another owner", "a fifo as lock"],
)
def test_what_is_no_run_of_ours_is_left_alone(spoil: Callable[[Path], Any]) -> None:
    """The index is only a hint: the folder itself must be one of a run of ours."""
    run = a_run()
    try:
        spoil(run)
    except PermissionError:
        pytest.skip("needs root")
    for name in ("job.json", "result.json"):
        os.utime(run / name, (1, 1))
    pruned()
    assert (run / "result.json").exists()
    assert (run / "logs" / "rank0.log").exists()


def test_a_folder_that_is_gone_is_forgotten(place: Path) -> None:
    """Its row in `plaunch status` goes."""
    run = a_run()
    run.rename(place / "kept")
    rows, code = pruned()
    assert (rows[0]["state"], rows[0]["removed"], code) == ("gone", True, 0)
    assert index.entries() == []
    assert (place / "kept").exists()


def test_the_command(plaunch: Launcher) -> None:
    """A table, a sum, and what may be written as an age."""
    old = a_run("failed")
    done = plaunch("prune", "--older", "30d", "--dry-run").ok()
    assert str(old) in done.out
    assert "1 run would be removed: " in done.err
    done = plaunch("prune", "--older", "5w", "--failed").ok()
    assert done.out.splitlines()[0].split() == ["JOB", "STATE", "LAST", "SIGN", "SIZE", "FOLDER"]
    assert "1 run removed, " in done.err
    assert not old.exists()
    assert "no runs are that old" in plaunch("prune", "--older", "30d").ok().err
    assert [seconds_of(text) for text in ("0d", "45s", "90m", "2h", "1d", "2w")] == [
        0, 45, 5400, 7200, 86400, 1209600,
    ]  # fmt: skip
    assert [size_words(n) for n in (2048, 3 << 20, 5 << 30)] == ["2 KiB", "3.0 MiB", "5.0 GiB"]
