"""Hosts that can't be used: told node by node before anything starts, with exit code 3."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.clusters.runs import PROGRAMS, Run
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts

PROGRAM = str(PROGRAMS / "train_on.py")


@pytest.fixture
def host2(testbed: Testbed) -> Iterator[Path]:
    """The files of a host that may be changed: it boots afresh afterwards."""
    yield testbed.path("host2")
    testbed.crash("host2")


def refused(testbed: Testbed, *words: str, hosts: str = "host[1-3]") -> dict[str, str]:
    """What plaunch says of each node that can't be used."""
    with Run(testbed, *words, hosts=hosts) as run:
        assert run.wait(60) == 3
    start = run.lines.index("plaunch: the cluster is not as asked; nothing was started")
    heading, *rows = run.lines[start + 1 :]
    assert heading.split() == ["NODE", "PROBLEM", "WHAT", "TO", "DO"]
    return {row.split()[0]: row.strip() for row in rows}


@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        ("host1,hots2", r"hots2 +unknown host name 'hots2' "),
        ("host1,host2:2222", r"host2 +connection refused by host2 port 2222 "),
        ("host1,bob@host2", r"host2 +user 'bob' was refused with the keys tried: /root/.ssh/id_"),
    ],
)
def test_hosts_that_cannot_be_logged_in_to(testbed: Testbed, hosts: str, says: str) -> None:
    """One clear line for the host that it is about, none for the others."""
    (line,) = refused(testbed, PROGRAM, hosts=hosts).values()

    assert re.match(says, line)


def test_all_problems_of_all_hosts_come_at_once(testbed: Testbed) -> None:
    """One table, not one problem at a time."""
    testbed.cut("host3")

    told = refused(testbed, PROGRAM, hosts="host1,hots2,host3,host4:2222")

    assert list(told) == ["host3", "host4", "hots2"]


def with_python(testbed: Testbed, host2: str | None) -> dict[str, str]:
    """What plaunch says where ``python: /opt/py`` is a script; host2 has another one, or none."""
    usual = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    for number in (1, 2, 3):
        text = usual if number != 2 else host2
        file = testbed.path(number) / "opt/py"
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
            file.chmod(0o755)
    cluster = testbed.shared / "cluster.yaml"
    cluster.write_text("cluster: ssh\nhosts: ['host[1-3]']\npython: /opt/py\n")
    return refused(testbed, "--cluster", "/shared/cluster.yaml", PROGRAM, hosts="")


def test_no_python_there(testbed: Testbed) -> None:
    """The path of the cluster file leads to nothing on one host."""
    told = with_python(testbed, None)

    assert list(told) == ["host2"]
    assert told["host2"].startswith("host2  no python at '/opt/py'")


def test_python_without_torch_there(testbed: Testbed) -> None:
    """One host's Python lacks torch."""
    told = with_python(testbed, '#!/bin/sh\nexec /usr/bin/python3 "$@"\n')

    assert list(told) == ["host2"]
    assert "torch" in told["host2"]


def test_another_torch_there(testbed: Testbed, host2: Path) -> None:
    """One host has another version of torch than the others: it is named, with both versions."""
    version = host2 / Path(torch.__file__).with_name("version.py").relative_to("/")
    text = version.read_text()
    assert torch.__version__ in text
    version.write_text(text.replace(torch.__version__, "2.4.1"))

    told = refused(testbed, PROGRAM)

    assert list(told) == ["host2"]
    assert "2.4.1" in told["host2"]
    assert torch.__version__ in told["host2"]


def test_login_shell_that_ends_at_once(testbed: Testbed, host2: Path) -> None:
    """A user who may not run commands: said, not waited for."""
    usermod = testbed.call("host2", ["usermod", "-s", "/usr/sbin/nologin", "alice"])
    assert usermod.returncode == 0

    told = refused(testbed, PROGRAM, hosts="host1,alice@host2")

    assert list(told) == ["host2"]


def test_script_that_only_the_login_host_has(testbed: Testbed) -> None:
    """A script outside any shared folder: the hosts that miss it are named."""
    for host in ("host0", "host2"):
        (testbed.path(host) / "tmp/alone.py").write_text("print('hello')\n")

    told = refused(testbed, "/tmp/alone.py")

    assert list(told) == ["host1", "host3"]
    assert "script not found: /tmp/alone.py" in told["host1"]
