"""Where plaunch runs: odd folders, closed descriptors, low limits, names that are taken."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import launcher
import plaunch as plaunch_package
from launcher.agent import __main__ as agent_main
from launcher.agent.node import gpu_lease
from launcher.clusters.ray import cluster as ray
from launcher.core.limits import too_few_files
from tests.launcher.support.runs import PLAUNCH, Launcher

RANK = """\
import engine, launcher, os, resource, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
words = [launcher.NAME, engine.NAME, str(soft), os.environ["TMPDIR"]]
open("rank" + os.environ["RANK"], "w").write("\\n".join(words))
print("said")
"""


def with_shell(script: str) -> tuple[str, ...]:
    """The command, started by a shell after ``script`` and with its redirections."""
    return ("sh", "-c", script, PLAUNCH)


def test_odd_surroundings_at_once(plaunch: Launcher) -> None:
    """Closed descriptors, 32 open files, a long odd TMPDIR, a user's own launcher and engine.

    The run succeeds; ranks find the user's own modules, the user's limit and the user's TMPDIR.
    """
    folder = plaunch.folder
    for name in ("launcher", "engine"):
        plaunch.write(f"own/{name}/__init__.py", "NAME = 'mine'")
    plaunch.write("own/plaunch.txt", "no module")
    plaunch.write("main.py", RANK)
    odd = folder / ("a b'\"é$(x)" + "long" * 40)
    odd.mkdir()
    env = {"PYTHONPATH": str(folder / "own"), "TMPDIR": str(odd)}
    command = with_shell('ulimit -Sn 32; exec "$0" "$@" <&- >&- 2>&-')
    done = plaunch(
        "--start", "cold", "--nodes", "2", "--procs", "3", "main.py", env=env, command=command
    )

    assert (done.code, done.out, done.err) == (0, "", "")
    for rank in range(6):
        told = (folder / f"rank{rank}").read_text().split("\n")
        assert told == ["mine", "mine", "32", str(odd)]
    assert done.result is not None
    assert done.result["state"] == "succeeded"
    assert list(odd.iterdir()) == []


def test_the_commands_own_package_has_the_public_names() -> None:
    """For programs that have a `launcher` of their own."""
    assert plaunch_package.__all__ == launcher.__all__
    assert plaunch_package.report is launcher.report
    with pytest.raises(AttributeError, match="nothing"):
        plaunch_package.nothing  # noqa: B018 - looked up on purpose


def test_what_speaks_with_ray_finds_our_launcher(tmp_path: Path) -> None:
    """Another process of ours, which a user's own launcher must not replace either."""
    (tmp_path / "launcher.py").write_text("raise SystemExit('not ours')")
    root = str(Path(launcher.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", ray._CLERK, root],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


def test_a_low_hard_limit_is_told(plaunch: Launcher) -> None:
    """One line, with the number and what to do; the run is tried all the same."""
    command = with_shell('ulimit -n 40; exec "$0" "$@"')
    done = plaunch("--start", "cold", "--no-python", "true", command=command)

    assert "this machine allows 40 open files (ulimit -Hn), and this run takes about" in done.err
    assert "limits.conf" in done.err
    assert done.err.count("open files") == 1
    assert done.code == 0


def test_too_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the hard limit, the nodes and the ranks."""
    monkeypatch.setattr("launcher.core.limits.resource.getrlimit", lambda _: (32, 1024))

    assert too_few_files(1, 8) is None
    assert "1024 open files" in (too_few_files(200, 800) or "")


def test_home_folders_in_a_cluster_file(plaunch: Launcher) -> None:
    """``~`` in python, workdir, --run-dir and --cluster is the home folder."""
    home = plaunch.folder / "my home"
    (home / "work").mkdir(parents=True)
    (home / "work/main.sh").write_text("pwd > here")
    (home / "c.yaml").write_text("cluster: local\npython: ~/python\nworkdir: ~/work\n")
    (home / "python").symlink_to(sys.executable)
    words = ("--cluster=~/c.yaml", "--run-dir=~/run", "--no-python", "sh", "main.sh")
    done = plaunch(*words, env={"HOME": str(home)})

    assert done.code == 0, done.err
    assert (home / "work/here").read_text() == f"{home}/work\n"
    assert (home / "run/result.json").exists()


def test_a_slurm_job_that_is_started_again_after_its_run_succeeded(plaunch: Launcher) -> None:
    """Its end is that success, exit code 0; any other run in that folder is refused as ever."""
    words = ("--cluster", "local", "--run-dir", "run", "--result", "r.json", "--no-python", "true")
    job = {"SLURM_JOB_ID": "5", "CUDA_VISIBLE_DEVICES": ""}
    assert plaunch(*words, env=job).code == 0
    result = (plaunch.folder / "r.json").read_text()
    (plaunch.folder / "r.json").unlink()

    again = plaunch(*words, env={**job, "SLURM_RESTART_COUNT": "1"})
    assert (again.code, again.out) == (0, "")
    assert "SLURM has started job 5 again, but its run has succeeded" in again.err
    assert (plaunch.folder / "r.json").read_text() == result

    for env in (job, {**job, "SLURM_JOB_ID": "6", "SLURM_RESTART_COUNT": "1"}):
        other = plaunch(*words, env=env)
        assert other.code == 2
        assert "has succeeded: choose another folder" in other.err


def place(path: Path | str, variable: str = "") -> tuple[str, str]:
    return (variable, "" if variable else str(path))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        yield Path(folder)


def test_a_folder_for_the_socket(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    """The first place that is there, can be written to, and is short enough for a socket."""
    long = short / ("x" * 100)
    good = short / "g"
    for folder in (long, good):
        folder.mkdir()
    places: list[tuple[str, str]] = [
        place("", "TMPDIR"), place("/proc"), place(short / "gone"), place(long), place(good),
    ]  # fmt: skip
    monkeypatch.setattr(agent_main, "PLACES", places)

    for value in ("", "relative", "/proc/self", str(long)):
        made = agent_main.private_folder({"TMPDIR": value})
        assert Path(made).parent == good, value
        assert stat.S_IMODE(os.stat(made).st_mode) == 0o700
        os.rmdir(made)
    assert list(long.iterdir()) == []

    places.pop()
    with pytest.raises(OSError, match=re.escape(f"{long} is too long for a socket")) as caught:
        agent_main.private_folder({})
    assert "/proc: " in str(caught.value)
    assert "TMPDIR" in str(caught.value)


def test_no_socket_can_be_there(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    """A file system without sockets is passed over, and nothing is left on it."""

    def refuse(path: str) -> None:
        if path.startswith(f"{short}/bad"):
            raise OSError(errno.EPERM, "Operation not permitted")

    for name in ("bad", "good"):
        (short / name).mkdir()
    places = [place(short / "bad"), place(short / "good")]
    monkeypatch.setattr(agent_main, "PLACES", places)
    monkeypatch.setattr(agent_main, "_try_socket", refuse)

    made = agent_main.private_folder({})

    assert Path(made).parent == short / "good"
    assert list((short / "bad").iterdir()) == []


def test_leases_where_tmp_is_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are in the second place, and everybody finds them there."""
    monkeypatch.delenv("PLAUNCH_LEASE_DIR", raising=False)
    monkeypatch.setattr(gpu_lease, "FOLDER", str(tmp_path / "tmp/leases"))
    monkeypatch.setattr(gpu_lease, "SECOND_FOLDER", str(tmp_path / "leases"))
    make: Any = os.mkdir

    def mkdir(path: str, *more: Any) -> None:
        if path.startswith(f"{tmp_path}/tmp"):
            raise OSError(errno.EROFS, "Read-only file system", path)
        make(path, *more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    lease, other = gpu_lease.Lease("one"), gpu_lease.Lease("two")
    try:
        assert lease.take(["GPU-1"]) == (("GPU-1",), ())
        assert lease.problem == ""
        assert other.take(["GPU-1"]) == ((), ("GPU-1",))
        assert "run one" in gpu_lease.holder("GPU-1")
    finally:
        lease.give_back()
