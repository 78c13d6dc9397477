"""The run's folder: who owns it, what is refused, what is written."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.core.errors import RunDirError
from launcher.core.job import Failure, Job, PastAttempt, Program, RankResult, Result, Verdict
from launcher.rundir import rundir as module
from launcher.rundir.events import former_attempts, preemptions
from launcher.rundir.rundir import RunDir, clean, default_path, write_whole


def a_job(folder: Path, **changes: Any) -> Job:
    values = {"id": "j1", "program": Program("script", "t.py", ("a",)), "run_dir": str(folder)}
    return Job(**{**values, **changes})  # type: ignore[arg-type]


def a_result(state: Any = "succeeded", verdict: Verdict | None = None) -> Result:
    ranks = (RankResult(0, 0, "n", 0, {"x": math.nan, "y": (1, math.inf)}),)
    node = {"name": "n", "address": "a", "gpus": []}
    return Result("j1", state, 0, 1, 0, 1, 1.5, (node,), ranks, verdict, "dir")


def run_once(job: Job, state: str = "failed") -> None:
    rundir = RunDir(job)
    rundir.open()
    rundir.log(0, "a line\n")
    rundir.event("attempt", attempt=1)
    rundir.finish(a_result(state))
    rundir.close()


def test_what_is_written(tmp_path: Path) -> None:
    """job.json, events.jsonl, one log a rank, result.json: JSON without NaN, no values of env."""
    job = a_job(tmp_path / "run", env={"TOKEN": "hunter2"}, result_file=str(tmp_path / "r.json"))
    rundir = RunDir(job)
    rundir.open()
    rundir.log(3, "odd \udcff byte\n")
    rundir.event("x", value=math.nan)
    failure = Failure("E", "m", "t", ("cause",))
    rundir.finish(a_result("failed", Verdict("exception", 0, "n", 1, exception=failure)))
    rundir.close()
    assert (tmp_path / "run/logs/rank3.log").read_bytes() == b"odd \xff byte\n"
    event = json.loads((tmp_path / "run/events.jsonl").read_text())
    assert (event["event"], event["value"]) == ("x", None)
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["ranks"][0]["value"] == {"x": None, "y": [1, None]}
    assert result["verdict"]["exception"] == {"type": "E", "message": "m", "traceback": "t"}
    assert json.loads((tmp_path / "r.json").read_text()) == result
    assert "hunter2" not in (tmp_path / "run/job.json").read_text()
    assert rundir.complaint() is None


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    """A second run is told who owns the folder; afterwards it may have it."""
    first, second = RunDir(a_job(tmp_path)), RunDir(a_job(tmp_path, id="j2"))
    first.open()
    with pytest.raises(RunDirError, match=f"job j1, process {os.getpid()}"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_folder_that_is_removed_meanwhile_has_no_two_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a file that has its name no more protects nothing."""

    def removed_just_now(fd: int) -> bool:
        (tmp_path / "lock").unlink()
        return True

    monkeypatch.setattr(module, "_locked", removed_just_now)
    with pytest.raises(RunDirError, match="is being removed"):
        RunDir(a_job(tmp_path)).open()


@pytest.mark.parametrize("state", ["failed", "preempted", "cancelled"])
def test_a_run_that_was_cut_short_goes_on(tmp_path: Path, state: str) -> None:
    """The same program and arguments: logs are continued, the stale result is gone."""
    run_once(a_job(tmp_path), state)
    rundir = RunDir(a_job(tmp_path))
    rundir.open()
    assert not (tmp_path / "result.json").exists()
    rundir.log(0, "more\n")
    rundir.close()
    assert (tmp_path / "logs/rank0.log").read_text() == "a line\nmore\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"program": Program("script", "other.py", ("a",))}, "another program"),
        ({"program": Program("script", "t.py", ("b",))}, "with other arguments"),
        ({}, "has succeeded"),
    ],
)
def test_refusals(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """Another program, other arguments, or a run that succeeded: --restart is named."""
    run_once(a_job(tmp_path), "succeeded")
    before = (tmp_path / "result.json").read_text()
    with pytest.raises(RunDirError, match=said) as caught:
        RunDir(a_job(tmp_path, **changes)).open()
    assert "--restart" in str(caught.value)
    assert (tmp_path / "result.json").read_text() == before
    rundir = RunDir(a_job(tmp_path, restart=True, **changes))  # the lock was let go
    rundir.open()
    assert (tmp_path / "logs/rank0.log").exists()
    rundir.start()
    rundir.close()
    assert not (tmp_path / "logs/rank0.log").exists()
    assert not (tmp_path / "result.json").exists()
    assert (tmp_path / "events.jsonl").read_text() == ""


def test_restart_keeps_what_is_not_ours(tmp_path: Path) -> None:
    """Beginning anew removes only what a run wrote; a user's files stay."""
    run_once(a_job(tmp_path), "succeeded")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "data").mkdir()
    rundir = RunDir(a_job(tmp_path, restart=True))
    rundir.open()
    rundir.start()
    rundir.close()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "data").is_dir()


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the lock, which holds its last owner's name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_a_run_that_never_started_leaves_no_folder(tmp_path: Path) -> None:
    """Nor folders above it that were made for it; what was there before stays."""
    (tmp_path / "there").mkdir()
    for place in ("there", "new/of/it"):
        rundir = RunDir(a_job(tmp_path / place))
        rundir.open()
        assert rundir.abandon("no such host")
        rundir.close()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["there"]


@pytest.mark.parametrize("restart", [True, False])
def test_a_run_that_could_not_go_on_keeps_what_it_had(tmp_path: Path, restart: bool) -> None:
    """Its result, its logs and all else, also where everything should have begun anew."""
    run_once(a_job(tmp_path), "failed")
    (tmp_path / "fit-0").mkdir()
    (tmp_path / "fit-0" / "engine.json").write_text("{}")
    before = contents(tmp_path)
    rundir = RunDir(a_job(tmp_path, restart=restart))
    rundir.open()
    assert rundir.abandon("no such host")
    rundir.close()
    after = contents(tmp_path)
    assert after.pop("events.jsonl").startswith(before.pop("events.jsonl"))
    assert after == before


def test_a_run_that_has_started_is_not_abandoned(tmp_path: Path) -> None:
    """A later attempt that can't start is noted."""
    rundir = RunDir(a_job(tmp_path))
    rundir.open()
    rundir.start()
    assert not rundir.abandon("no such host")
    rundir.close()
    assert "no such host" in (tmp_path / "events.jsonl").read_text()


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    """A file in its place is an error that names it and the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="--run-dir"):
        RunDir(a_job(tmp_path / "file" / "run")).open()


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A value that can't be written leaves the old file and nothing else."""
    write_whole(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_whole(tmp_path / "x.json", {"a": object()})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_clean_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN at any depth becomes null; a default folder's name is safe for any program's."""
    assert clean({"a": [math.nan, {1: -math.inf}], "b": True}) == {
        "a": [None, {"1": None}],
        "b": True,
    }
    monkeypatch.chdir(tmp_path)
    path = Path(default_path("/x/../a b;$(c).py", "id7"))
    assert path.parent == tmp_path / "plaunch_runs"
    assert path.name.endswith("-a-b-c-.py-id7")


# ---------------------------------------------------------------------- earlier attempts


def attempted(folder: Path, *ends: str | None, **changes: Any) -> RunDir:
    """A launcher that begins an attempt for each of ``ends``, and writes down how it ended."""
    rundir = RunDir(a_job(folder, **changes))
    rundir.open()
    rundir.start()
    for end in ends:
        rundir.event("attempt", attempt=len(rundir.history) + 1, world_size=2)
        rundir.event("exit", rank=0, node="n", status=1)
        if end == "failed":
            rundir.event("failed", kind="oom", rank=1, node="n", step=7)
        elif end is not None:
            rundir.event(end, step=3)
    rundir.close()
    return rundir


def test_what_became_of_each_attempt() -> None:
    """Pure: kind, rank, node and step of a failure; "unknown" where nobody wrote down the end."""
    start = {"event": "attempt", "attempt": 1}
    failed = {"event": "failed", "kind": "exception", "rank": 1, "node": "h2", "step": 9}
    events = [start, {"event": "exit"}, failed, start, start, {"event": "preempted", "step": 20}]
    past = former_attempts([{"event": "preempted"}, *events, {"event": 3}, {}])
    assert past == (
        PastAttempt(1, "failed", "exception", 1, "h2", 9),
        PastAttempt(2, "unknown"),
        PastAttempt(3, "preempted", step=20),
    )
    assert preemptions(past) == 1
    assert former_attempts([]) == ()


def test_a_run_that_goes_on_knows_its_earlier_attempts(tmp_path: Path) -> None:
    """They are read back from events.jsonl by each launcher, and counted on; --restart forgets."""
    attempted(tmp_path, "failed", "preempted")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "succe')  # killed while it wrote
    states = [past.state for past in attempted(tmp_path, None).history]
    assert states == ["failed", "preempted", "unknown"]
    states = [past.state for past in attempted(tmp_path, "cancelled").history]
    assert states == ["failed", "preempted", "unknown", "cancelled"]
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    numbers = [event["attempt"] for event in map(json.loads, lines) if event["event"] == "attempt"]
    assert numbers == [1, 2, 3, 4]
    assert attempted(tmp_path, restart=True).history == ()


def test_the_result_file_tells_of_earlier_attempts(tmp_path: Path) -> None:
    """One entry each under `history`, as JSON."""
    rundir = attempted(tmp_path, "preempted")
    rundir.finish(replace(a_result(), attempts=2, preemptions=1, history=rundir.history))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["attempts"], result["preemptions"]) == (2, 1)
    assert result["history"] == [
        {"attempt": 1, "state": "preempted", "kind": None, "rank": None, "node": None, "step": 3}
    ]
