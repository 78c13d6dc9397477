"""`plaunch status`, `logs` and `cancel` of real runs on this machine, from another folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.logs import start_of_last
from tests.launcher.support.runs import PLAUNCH, Launcher, Run, alive, until

SHORT = "echo rank $RANK of $WORLD_SIZE; echo more; exit ${CODE:-0}"
LONG = "echo rank $RANK waits; exec sleep 100"

Words = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    """The `plaunch` command in a folder that has nothing to do with the runs."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def call(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PLAUNCH, *argv],
            capture_output=True,
            text=True,
            timeout=90,
            cwd=options.pop("cwd", elsewhere),
            **options,
        )

    return call


def begin(plaunch: Launcher, script: str = LONG, procs: int = 2, **options: Any) -> Run:
    """Start a run and wait until all its ranks have spoken."""
    run = plaunch.start("--procs", str(procs), "--no-python", "sh", "-c", script, **options)
    run.until(lambda: run.out.count("waits") == procs, "the ranks have begun")
    return run


def told(words: Words, *argv: str) -> list[dict[str, Any]]:
    done = words("status", "--json", *argv)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def job_id(run: Run) -> str:
    assert run.run_dir is not None
    return str(json.loads((run.run_dir / "job.json").read_text())["job_id"])


# -- status


def test_a_run_from_its_beginning_to_its_end(plaunch: Launcher, words: Words) -> None:
    """It is found by its id and by its folder, runs, is cancelled, and is told of afterwards."""
    run = begin(plaunch)
    (job,) = told(words)
    assert (job["state"], job["over"], job["world_size"]) == ("running", False, 2)
    assert (job["cluster"], job["pid"], job["host"]) == ("local", run.pid, os.uname().nodename)
    assert job["job_id"] == job_id(run)
    assert told(words, str(run.run_dir))[0]["state"] == "running"
    table = words("status").stdout.splitlines()
    assert len(table) == 2
    assert table[1].startswith(job["job_id"])
    assert "running" in table[1]
    done = words("cancel", job["job_id"])
    assert (done.returncode, done.stderr) == (0, f"plaunch: job {job['job_id']}: cancelled\n")
    until(lambda: not alive(run.pid), "plaunch itself ends")
    run.nothing_left()
    assert run.wait().code == 130
    assert told(words, job["job_id"][:5])[0]["state"] == "cancelled"
    done = words("cancel", "--json", job["job_id"])
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["message"] == "nothing to cancel: it is over: cancelled"


def test_a_run_that_failed(plaunch: Launcher, words: Words) -> None:
    """The details have the verdict; the table has one row a run, the newest last."""
    plaunch("--no-python", "sh", "-c", SHORT).ok()
    done = plaunch("--procs", "2", "--no-python", "sh", "-c", SHORT, env={"CODE": "7"})
    assert done.code == 7
    states = [job["state"] for job in told(words, "--all")]
    assert states == ["succeeded", "failed"]
    assert done.result is not None
    text = words("status", done.result["job_id"]).stdout
    assert f"job {done.result['job_id']}: failed\n" in text
    for line in ("exit code  7", "ranks      2", "failed first: exit code 7", "program    sh -c"):
        assert line in text, text
    assert told(words, done.result["job_id"])[0]["verdict"]["kind"] == "exit"


def test_a_launcher_that_was_killed(plaunch: Launcher, words: Words) -> None:
    """Nobody leads the run any more: it died, and there is nothing to cancel."""
    run = begin(plaunch)
    name = job_id(run)
    os.kill(run.pid, signal.SIGKILL)
    run.process.wait(20)
    run.nothing_left()
    (job,) = told(words, name)
    assert (job["state"], job["over"]) == ("died", True)
    done = words("cancel", name)
    assert done.returncode == 0
    assert "nothing to cancel: it is over: died" in done.stderr
    assert words("logs", "-f", name).stdout.count("waits") == 2  # and it ends


def test_how_far_it_is(plaunch: Launcher, words: Words) -> None:
    """Step and checkpoint are known as soon as the ranks tell of them."""
    plaunch.write(
        "t.py",
        """
        import json, os, socket, sys, time
        line = socket.socket(socket.AF_UNIX)
        line.connect(os.environ["PLAUNCH_SOCKET"])
        def tell(**more):
            body = json.dumps({"type": "progress", **more}).encode()
            line.sendall(len(body).to_bytes(4, "big") + body)
        tell(step=3)
        tell(step=40, checkpoint="/x/y.ckpt")
        time.sleep(100)
        """,
    )
    run = plaunch.start("--start", "cold", "t.py", "--lr", "0.1")
    job = run.until(
        lambda: next((job for job in told(words) if job["checkpoint"]), None), "it is told"
    )
    assert (job["step"], job["checkpoint"], job["args"]) == (40, "/x/y.ckpt", ["--lr", "0.1"])
    text = words("status", job["job_id"]).stdout
    assert "t.py --lr 0.1" in text
    assert "checkpoint  /x/y.ckpt" in text
    assert f"process {run.pid} on {os.uname().nodename}" in text
    assert words("cancel", str(run.run_dir)).returncode == 0
    run.wait()


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ("--gpus 3 --no-python true", 3),
        ("--no-python no-such-program", 3),
        ("--hosts no.such.host.invalid --no-python true", 3),
        ("missing.py", 2),
        ("--procs 0 --no-python true", 2),
        ("--cluster local --time 9 --no-python true", 2),
        ("--dry-run --no-python true", 0),
    ],
)
def test_nothing_could_be_started(plaunch: Launcher, words: Words, argv: str, code: int) -> None:
    """It was no run: there is no folder of it, and it is no job."""
    assert plaunch(*argv.split()).code == code
    assert told(words, "--all") == []
    assert not (plaunch.folder / "plaunch_runs").exists()


def test_a_run_that_could_not_go_on(plaunch: Launcher, words: Words) -> None:
    """It is what it was before, in its folder and in its status."""
    script = "test -e go || exit 75"
    argv = ("--run-dir", "run", "--no-python", "sh", "-c", script)
    assert plaunch(*argv).code == 75
    (before,) = told(words)
    assert before["state"] == "preempted"
    assert plaunch("--gpus", "3", *argv).code == 3
    (after,) = told(words)
    assert {key: after[key] for key in ("job_id", "state", "attempts", "pid")} == {
        key: before[key] for key in ("job_id", "state", "attempts", "pid")
    }
    (plaunch.folder / "go").touch()
    assert plaunch(*argv).ok().result


def test_led_from_another_host(tmp_path: Path, plaunch: Launcher, words: Words) -> None:
    """A shared folder need not show another host's lock: its last sign of life is told."""
    done = plaunch("--no-python", "true").ok()
    assert done.run_dir is not None
    (done.run_dir / "result.json").unlink()
    path = done.run_dir / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "far", "pid": 1}))
    (job,) = told(words, str(done.run_dir))
    assert (job["state"], job["over"]) == ("unknown", False)
    assert "led from far, last event" in job["reason"]
    cancelled = words("cancel", str(done.run_dir))
    assert cancelled.returncode == 3
    assert "process 1 on far: there, type `plaunch cancel " in cancelled.stderr


def test_a_folder_that_is_gone(plaunch: Launcher, words: Words) -> None:
    """A run whose folder was removed is listed, as far as it is known."""
    done = plaunch("--no-python", "true").ok()
    assert done.run_dir is not None
    done.run_dir.rename(done.run_dir.with_name("moved"))
    (job,) = told(words)
    assert (job["state"], job["reason"]) == ("gone", "its run folder was removed")
    (job,) = told(words, str(done.run_dir.with_name("moved")))
    assert (job["state"], job["program"]) == ("succeeded", "true")


def test_local_runs_need_no_slurm(plaunch: Launcher, words: Words, tmp_path: Path) -> None:
    """None of SLURM's commands is called."""
    plaunch("--no-python", "true").ok()
    for name in ("squeue", "scontrol", "sacct"):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
        script.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    assert "succeeded" in words("status", env=env).stdout
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("word", ["status", "logs", "cancel"])
def test_a_job_that_nobody_knows(plaunch: Launcher, words: Words, word: str) -> None:
    """Exit code 2, and ids that are like the word."""
    done = plaunch("--no-python", "true").ok()
    assert done.result is not None
    known = done.result["job_id"]
    typo = ("a" if known[0] != "a" else "b") + known[1:]
    answer = words(word, typo)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"plaunch: no job '{typo}' is known here: did you mean {known}")
    answer = words(word, ".")
    assert answer.returncode == 2
    assert "is no run's folder" in answer.stderr


def test_no_jobs_yet(words: Words) -> None:
    """An empty list is an answer."""
    done = words("status")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no jobs yet" in done.stderr
    assert told(words) == []


def test_the_words_and_files_of_their_names(tmp_path: Path, words: Words) -> None:
    """A folder `logs` changes nothing; a program `status` is run; options come after the word."""
    (tmp_path / "logs").mkdir()
    assert words("logs", "--help", cwd=tmp_path).stdout.startswith("usage: plaunch logs")
    (tmp_path / "status").write_text("print('a program')")
    done = words("status", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a program\n")
    done = words("--quiet", "cancel", "x")
    assert done.returncode == 2
    assert "'cancel' comes before options" in done.stderr


# -- logs


def test_logs(plaunch: Launcher, words: Words) -> None:
    """Every line with its rank; one rank's as they are; the last lines; as JSON."""
    done = plaunch("--procs", "2", "--no-python", "sh", "-c", SHORT).ok()
    assert done.result is not None
    name = done.result["job_id"]
    assert words("logs", name).stdout.splitlines() == [
        "[rank 0] rank 0 of 2",
        "[rank 0] more",
        "[rank 1] rank 1 of 2",
        "[rank 1] more",
    ]
    assert words("logs", name, "--rank", "1").stdout == "rank 1 of 2\nmore\n"
    assert words("logs", name, "--tail", "1").stdout == "[rank 0] more\n[rank 1] more\n"
    assert words("logs", name, "--tail", "0").stdout == ""
    rows = [json.loads(row) for row in words("logs", name, "--json").stdout.splitlines()]
    assert rows[2] == {"rank": 1, "line": "rank 1 of 2"}
    missing = words("logs", name, "--rank", "7")
    assert missing.returncode == 2
    assert "rank 7 has no log: there are those of ranks 0-1" in missing.stderr


def test_logs_of_one_rank_are_bytes_as_they_came(plaunch: Launcher, words: Words) -> None:
    """Progress bars and bytes that are no UTF-8 come out unchanged."""
    done = plaunch("--no-python", "sh", "-c", r"printf '1%%\r2%%\rdone \377 no end'").ok()
    assert done.run_dir is not None
    answer = subprocess.run(
        [PLAUNCH, "logs", str(done.run_dir)], capture_output=True, check=True, timeout=60
    )
    assert answer.stdout == (done.run_dir / "logs/rank0.log").read_bytes()
    assert b"done \xff no end" in answer.stdout


def test_following(plaunch: Launcher, words: Words, tmp_path: Path) -> None:
    """What is printed comes at once, and the end of the job is the end of its logs."""
    script = f"echo waits; until test -e {tmp_path}/go; do sleep 0.05; done; echo went"
    run = begin(plaunch, script)
    argv = [PLAUNCH, "logs", "--follow", job_id(run)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        try:
            first = {reader.stdout.readline() for _ in range(2)}
            assert first == {"[rank 0] waits\n", "[rank 1] waits\n"}
            (tmp_path / "go").touch()
            out, err = reader.communicate(timeout=90)
        finally:
            reader.kill()
    assert sorted(out.splitlines()) == ["[rank 0] went", "[rank 1] went"]
    assert (reader.returncode, err) == (0, f"plaunch: job {job_id(run)}: succeeded\n")
    assert run.wait().code == 0


def test_a_reader_that_goes(plaunch: Launcher) -> None:
    """`plaunch logs ... | head -1` is no error."""
    done = plaunch("--no-python", "sh", "-c", "seq 100000").ok()
    line = f"set -o pipefail; '{PLAUNCH}' logs '{done.run_dir}' | head -1"
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "1\n", "")


@pytest.mark.parametrize(
    ("content", "count", "rest"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\n", 9, b"a\nb\n"),
        (b"a\nb\n", 0, b""),
        (b"\n\n\n", 2, b"\n\n"),
        (b"", 3, b""),
        (b"x" * 70_000 + b"\n" + b"y" * 70_000 + b"\n", 1, b"y" * 70_000 + b"\n"),
    ],
)
def test_the_last_lines(tmp_path: Path, content: bytes, count: int, rest: bytes) -> None:
    """Found from the end, whatever the sizes."""
    (tmp_path / "log").write_bytes(content)
    assert content[start_of_last(tmp_path / "log", count) :] == rest


# -- cancel


def test_several_at_once_and_one_in_the_background(plaunch: Launcher, words: Words) -> None:
    """A run that ignores Ctrl-C, as a shell's background jobs do, is ended all the same."""
    first = begin(plaunch, procs=1)
    ignoring = ("sh", "-c", 'trap "" INT; exec "$0" "$@"', PLAUNCH)
    second = begin(plaunch, procs=1, command=ignoring)
    done = words("cancel", job_id(first), job_id(second))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": cancelled\n") == 2
    assert (first.wait().code, second.wait().code) == (130, 143)
    assert {job["state"] for job in told(words)} == {"cancelled"}


def test_an_unknown_one_among_them(plaunch: Launcher, words: Words) -> None:
    """Nothing is cancelled if one of the words is a mistake."""
    run = begin(plaunch, procs=1)
    assert words("cancel", job_id(run), "nothing").returncode == 2
    assert told(words)[0]["state"] == "running"
    assert words("cancel", job_id(run)).returncode == 0
    run.wait()


def test_another_process_with_that_number_is_left_alone(plaunch: Launcher, words: Words) -> None:
    """Only the process that holds the run's lock is ever sent a signal."""
    run = begin(plaunch, procs=1)
    folder = run.run_dir
    assert folder is not None
    path = folder / "job.json"
    job = json.loads(path.read_text())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as other:
        try:
            path.write_text(json.dumps({**job, "pid": other.pid}))
            done = words("cancel", str(folder))
            assert done.returncode == 3
            assert f"process {other.pid} of this host does not lead it" in done.stderr
            assert other.poll() is None
        finally:
            other.kill()
    path.write_text(json.dumps(job))
    assert words("cancel", str(folder)).returncode == 0
    run.wait()


# -- what follows from what SLURM says: pure
