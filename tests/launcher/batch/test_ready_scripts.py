"""The scripts in slurm/: each is what its command prints, and holds nothing of one machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "slurm"
COMMANDS = dict(
    re.findall(
        r"^\| `(\S+\.sbatch)` \|.*\| `(plaunch .*)` \|$", (FOLDER / "README.md").read_text(), re.M
    )
)


def test_every_script_has_a_command() -> None:
    """The page lists all of them, and no others."""
    assert set(COMMANDS) == {path.name for path in FOLDER.glob("*.sbatch")}
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_is_what_its_command_prints(name: str) -> None:
    """To the byte; nothing else is printed (PLAUNCH_WRITE_GOLDEN=1 writes it anew)."""
    words = shlex.split(COMMANDS[name])
    words[0] = str(Path(sys.executable).with_name("plaunch"))
    env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}

    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    if os.environ.get("PLAUNCH_WRITE_GOLDEN"):
        (FOLDER / name).write_bytes(done.stdout)
    assert done.stdout == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_runs_anywhere(name: str) -> None:
    """No absolute path but that of bash stands in it."""
    text = (FOLDER / name).read_text().removeprefix("#!/bin/bash\n")

    assert re.findall(r"(?<![\w.$}])/\w+", text) == []
