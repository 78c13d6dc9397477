"""What the tests of the SSH backend share: programs for the login host that connect to others."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from tests.testbed import Testbed

PROJECT = Path(__file__).parents[3]
ENV = {"PYTHONPATH": str(PROJECT)}


def connect(
    testbed: Testbed,
    *nodes: str | dict[str, Any],
    argv: list[str] | None = None,
    user: str = "root",
    env: dict[str, str] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Connect from the login host to all nodes at once; see connect.py."""
    asked = {
        "nodes": [{"address": node} if isinstance(node, str) else node for node in nodes],
        "options": {"connect_timeout_s": 3, **options},
        "argv": argv or ["hostname"],
    }
    program = ["python", str(PROJECT / "tests/clusters/ssh/connect.py"), json.dumps(asked)]
    done = testbed.call("host0", program, env={**ENV, **(env or {})}, user=user)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def with_agent(testbed: Testbed, prepare: str, **options: Any) -> list[dict[str, Any]]:
    """The same to host1, beside an ssh-agent, after the shell commands in ``prepare``."""
    asked = {"nodes": [{"address": "host1"}], "options": options, "argv": ["hostname"]}
    program = ["python", str(PROJECT / "tests/clusters/ssh/connect.py"), json.dumps(asked)]
    script = f'eval "$(ssh-agent -s)"; {prepare}; {shlex.join(program)} >&3; ssh-agent -k'
    done = testbed.call("host0", ["sh", "-c", f"exec 3>&1 >&2; {script}"], env=ENV)
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def refusal(testbed: Testbed, node: str | dict[str, Any], **options: Any) -> tuple[str, str]:
    """Problem and advice of a connection that must fail."""
    (answer,) = connect(testbed, node, **options)
    assert "problem" in answer, answer
    return answer["problem"], answer["advice"]


def prelude(**options: Any) -> str:
    """The first lines of a program for the login host: a cluster of one node."""
    return (
        "from launcher.clusters.ssh.cluster import SshCluster, SshOptions\n"
        "from launcher.core.job import Node\n"
        "node = Node('host1', 'host1')\n"
        f"cluster = SshCluster((node,), SshOptions(**{options!r}))\n"
    )


def on_login_host(testbed: Testbed, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that starts with the prelude."""
    lines = [line[8:] for line in program.splitlines()]
    return testbed.call("host0", ["python", "-c", prelude() + "\n".join(lines)], env=ENV)
