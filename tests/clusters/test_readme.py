"""The README's commands that need hosts, of every kind of cluster."""

import shlex
import subprocess
from typing import Any

import pytest

from tests.docs.test_docs import commands
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts

TRAIN = """\
import torch.distributed as dist
dist.init_process_group("gloo")
print("world", dist.get_world_size())
dist.barrier()  # gloo takes a rank that leaves before all have met for a crash
dist.destroy_process_group()
"""
KINDS = {"testbed": "--hosts", "slurm": "--cluster slurm", "ray": "--cluster ray"}
ON_HOSTS = [
    (kind, command)
    for kind, word in KINDS.items()
    for command in commands()
    if command.startswith("plaunch") and word in command
]


def test_the_readme_has_commands_for_every_kind() -> None:
    """There is something to run here."""
    assert {kind for kind, _ in ON_HOSTS} == set(KINDS)


@pytest.mark.parametrize(("kind", "command"), ON_HOSTS)
def test_a_command_of_the_readme_runs_on_hosts(
    kind: str, command: str, request: pytest.FixtureRequest
) -> None:
    """A command of the README runs as it stands on four hosts."""
    cluster: Any = request.getfixturevalue(kind)
    testbed: Testbed = cluster if kind == "testbed" else cluster.testbed
    (testbed.shared / "train.py").write_text(TRAIN)
    process = testbed.run(
        "host1" if kind == "ray" else "host0",
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
