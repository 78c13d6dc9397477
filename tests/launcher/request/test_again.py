"""The command that goes on with a run: whole, quoted, without values of variables."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from launcher.cli.options import run_parser
from launcher.core.job import Program, RunOptions
from launcher.request.resume_command import resume_command
from tests.launcher.support.runs import DEADLINE_S, PLAUNCH, Launcher


@pytest.mark.parametrize(
    ("options", "program", "expected"),
    [
        (RunOptions(), Program("script", "t.py"), "plaunch --run-dir r t.py"),
        (
            RunOptions(
                cluster="slurm", nodes=(2, 4), gpus="8", procs=4, max_restarts=3, grace_s=60,
                timeout_s=90, preload=("a", "b"), start="cold", restart=True, result_file="x y",
                time="90", requeue=True, signal_lead_s=60, sbatch=("--exclusive --nice",),
            ),
            Program("module", "pack.mod", ("--lr", "a 'b'", "$x"), compat="lightning"),
            "plaunch --run-dir r --cluster slurm --nodes 2:4 --gpus 8 --procs 4 --max-restarts 3 "
            "--grace 60 --timeout 90 --preload a --preload b --start cold --result 'x y' --time 90 "
            "--requeue --signal-lead 60 '--sbatch=--exclusive --nice' --compat lightning -m "
            """pack.mod --lr 'a '"'"'b'"'"'' '$x'""",
        ),
        (
            RunOptions(hosts="h[1-2]", env={"SET": "1", "TOKEN": "hunter2"}),
            Program("program", "./-x"),
            "plaunch --run-dir r --hosts 'h[1-2]' --env SET --env TOKEN --no-python ./-x   "
            "# first set TOKEN",
        ),
        (RunOptions(), Program("script", "-x.py"), "plaunch --run-dir r -- -x.py"),
        (RunOptions(), Program("function", "f"), None),
    ],
)  # fmt: skip
def test_the_command(options: RunOptions, program: Program, expected: str | None) -> None:
    """What was asked for, but not to begin anew; no value of a variable is in it."""
    line = resume_command(options, program, "r", {"SET": "1"})
    assert line == expected
    if line is not None:
        parsed = run_parser().parse_program(shlex.split(line, comments=True)[1:])
        assert (parsed.program, tuple(parsed.args)) == (program.target, program.args)
        assert "hunter2" not in line


def test_the_line_can_be_typed(plaunch: Launcher) -> None:
    """After a preemption it stands there, and typed into a shell it goes on with that run."""
    plaunch.write(
        "a program.py",
        """
        import os, sys
        assert sys.argv[1:] == ["a b", "$(x)"]
        sys.exit(0 if os.environ.get("TORCHELASTIC_RUN_ID") and os.path.exists("once") else 75)
        """,
    )
    words = ("--start", "cold", "--procs", "2", "--run-dir", "my run", "a program.py")
    done = plaunch(*words, "a b", "$(x)")
    assert (done.code, done.result and done.result["state"]) == (75, "preempted")
    (line,) = [row for row in done.err.splitlines() if row.startswith("plaunch: to go on, type: ")]
    assert done.err.splitlines()[-1] == line
    (plaunch.folder / "once").touch()
    path = f"{Path(PLAUNCH).parent}{os.pathsep}{os.environ['PATH']}"
    typed = subprocess.run(
        ["bash", "-c", line.removeprefix("plaunch: to go on, type: ")],
        cwd=plaunch.folder, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert typed.returncode == 0, typed.stderr
    assert "succeeded" in typed.stderr
    assert "2 attempts" in typed.stderr
