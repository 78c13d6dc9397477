"""The README's commands that need hosts."""

import shlex
import subprocess

import pytest

from tests.test_docs import commands
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts

TRAIN = """\
import torch.distributed as dist
dist.init_process_group("gloo")
print("world", dist.get_world_size())
dist.destroy_process_group()
"""
ON_HOSTS = [c for c in commands() if c.startswith("plaunch") and "--hosts" in c]


def test_the_readme_has_a_command_for_hosts() -> None:
    """There is something to run here."""
    assert ON_HOSTS


@pytest.mark.parametrize("command", ON_HOSTS)
def test_a_command_of_the_readme_runs_on_hosts(testbed: Testbed, command: str) -> None:
    """A command of the README with --hosts runs as it stands on four hosts."""
    (testbed.shared / "train.py").write_text(TRAIN)
    process = testbed.run(
        "host0",
        shlex.split(command),
        cwd="/shared",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait(20)

    assert process.returncode == 0, said
    assert said.count("world 8") == 8
