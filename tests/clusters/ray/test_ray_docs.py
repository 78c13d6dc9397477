"""What the page says of Ray is true: its commands run on a real one."""

import re
from pathlib import Path

import pytest

from tests.clusters.runs import PROJECT
from tests.testbed import Ray

pytestmark = pytest.mark.hosts

PAGE = (PROJECT / "docs/launcher.md").read_text()
SECTION = PAGE.partition("\n## On Ray\n")[2].partition("\n## ")[0]
COMMANDS = [
    line
    for block in re.findall(r"^```\n(.*?)^```", SECTION, flags=re.M | re.S)
    for line in block.splitlines()
]
TRAIN = """\
import os
from launcher import report
print("rank", os.environ["RANK"])
report([int(os.environ["WORLD_SIZE"]), os.environ.get("CUDA_VISIBLE_DEVICES", "")])
"""


@pytest.fixture
def folder(ray: Ray, tmp_path: Path) -> str:
    """A shared folder with a train.py."""
    place = ray.testbed.shared / tmp_path.name
    place.mkdir()
    (place / "train.py").write_text(TRAIN)
    return f"/shared/{tmp_path.name}"


def test_the_page_has_commands() -> None:
    """Its blocks are read as commands."""
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(
    ray: Ray, ray_gpus: dict[str, str], folder: str, command: str
) -> None:
    """It ends with success, as a person types it on a machine of the cluster."""
    env = {**ray_gpus, "HF_TOKEN": "hf"}
    done = ray.testbed.call("host1", ["bash", "-ec", command], cwd=folder, env=env, timeout_s=150)

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    if "train.py" in command:
        assert "rank 0" in done.stdout
