"""What the page says of SLURM is true: its commands and its batch script run on a real one."""

import json
import re
from pathlib import Path

import pytest

from tests.clusters.runs import PROJECT
from tests.testbed import Slurm

pytestmark = pytest.mark.hosts

SECTION = (
    (PROJECT / "docs/launcher.md").read_text().partition("\n## On SLURM\n")[2].partition("\n## ")[0]
)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", SECTION, flags=re.M | re.S)
COMMANDS = [text.strip().splitlines() for language, text in BLOCKS if not language]
SCRIPTS = [text for language, text in BLOCKS if language == "bash"]
TRAIN = """\
import os
from launcher import report
print("rank", os.environ["RANK"])
report(int(os.environ["WORLD_SIZE"]))
"""
# A stand-in for NVIDIA's library tells of eight GPUs on each host; SLURM has as many.
GPUS = {
    "PYTHONPATH": str(PROJECT / "tests/fakes"),
    "PLAUNCH_GPU_DRIVER": "/shared/gpus.json",
}


def test_the_page_has_commands() -> None:
    """Its blocks are read as blocks of commands."""
    assert len([line for lines in COMMANDS for line in lines]) >= 8
    assert len(SCRIPTS) == 1


@pytest.fixture
def folder(slurm: Slurm, tmp_path: Path) -> str:
    """A shared folder with a train.py, as the login host sees it."""
    gpus = [{"uuid": f"GPU-{number}"} for number in range(8)]
    (slurm.testbed.shared / "gpus.json").write_text(json.dumps({"gpus": gpus}))
    place = slurm.testbed.shared / tmp_path.name
    place.mkdir()
    (place / "train.py").write_text(TRAIN)
    return f"/shared/{tmp_path.name}"


def run(slurm: Slurm, folder: str, command: str) -> str:
    done = slurm.testbed.call(
        "host0", ["bash", "-ec", command], cwd=folder, env=GPUS, timeout_s=180
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("lines", COMMANDS, ids=lambda lines: lines[0].split()[0])
def test_commands_of_the_page(slurm: Slurm, folder: str, lines: list[str]) -> None:
    """A block's commands, one after the other, end with success."""
    for command in lines:
        out = run(slurm, folder, command)
        if "--detach" in command:
            slurm.wait_for(out.strip(), "COMPLETED", 120)


def test_the_script_of_the_page(slurm: Slurm, folder: str) -> None:
    """A script of one's own, with one line of plaunch in it."""
    (slurm.testbed.shared / Path(folder).name / "own.sbatch").write_text(SCRIPTS[0])

    run(slurm, folder, "sbatch --wait own.sbatch")

    (result,) = (slurm.testbed.shared / Path(folder).name).glob("runs/*/result.json")
    assert json.loads(result.read_text())["world_size"] == 16
