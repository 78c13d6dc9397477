"""Nodes that are connected to and then don't answer, or tell a wrong time: said, and bounded."""

from __future__ import annotations

import io
import shlex
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.clusters.base import last_line
from launcher.clusters.deadline import deadline
from launcher.clusters.local import LocalCluster
from launcher.controller.agents import fleet as fleets
from launcher.controller.agents.fleet import Fleet
from launcher.controller.agents.link import Inbox, Link
from launcher.controller.placing import preflight
from launcher.core.console.console import Output
from launcher.core.errors import NodeError
from launcher.core.job import Job, Node, Program
from tests.launcher.support.runs import Launcher, until

SILENT = "printf 'Enter \\033[31mcode: '; exec cat 3>&1 >/dev/null"
# As a login shell that starts another one: that takes the secret for a command.
SHELL = "exec sh"
# A python that comes up for the agent, and not in the user's own surroundings (sitecustomize).
HALF = f'case "$1" in -I) exec {sys.executable} "$@";; esac\necho why >&2; sleep 600'


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder of pythons that are none."""
    for name, text in (("silent", SILENT), ("shell", SHELL), ("half", HALF)):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(stat.S_IRWXU)
    return tmp_path


class Impatient(LocalCluster):
    """This machine, with little time for the first words."""

    first_words_s = 3.0


def refusal(python: Path) -> NodeError:
    node = Node("host7", "127.0.0.1", python=str(python))
    with pytest.raises(NodeError) as caught:
        Link(node, Inbox()).open(Impatient(nodes=[node]), lambda _: b"")
    return caught.value


def test_a_node_that_asks_something(scripts: Path) -> None:
    """After the deadline, with the last thing that it said, fit for a terminal."""
    error = refusal(scripts / "silent")

    assert error.problem == (
        "connected, but no answer within 3 s; it last said: Enter \\x1b[31mcode:"
    )
    assert "silent -I -c 'print(1)'?" in error.advice


def test_a_node_that_starts_another_shell(scripts: Path) -> None:
    """What that shell says of the job's secret does not show it."""
    error = refusal(scripts / "shell")

    assert "no answer within 3 s; it last said: " in error.problem
    assert "...: not found" in error.problem


def test_the_last_line_of_what_a_node_said() -> None:
    """Not empty, not long, and without anything that a terminal would obey."""
    assert last_line("one\ntwo\r\n\n  \n") == "two"
    assert last_line("\n") == last_line("") == ""
    assert last_line("a\x1b[2Jb\x07é") == "a\\x1b[2Jb\\x07é"
    assert len(last_line("x" * 10_000)) == 200


def test_a_deadline_acts_once_and_only_if_it_is_missed() -> None:
    """The block's own end is in time; else something is done, and the block can see that."""
    acts: list[int] = []
    with deadline(600, lambda: acts.append(1)) as passed:
        assert not passed.is_set()
    with deadline(0.01, lambda: acts.append(2)) as passed:
        assert passed.wait(30)
    until(lambda: acts, "it acts")
    assert acts == [2]


@pytest.fixture
def said() -> io.StringIO:
    """What a person is told."""
    return io.StringIO()


@pytest.fixture
def fleet(scripts: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A node that is well, and one whose python does not come up."""
    monkeypatch.setattr(fleets, "SAY_AFTER_S", 0.3)
    nodes = [
        Node("host1", "127.0.0.1", python=sys.executable, workdir=str(scripts)),
        Node("host2", "127.0.0.1", python=str(scripts / "half"), workdir=str(scripts)),
    ]
    job = Job("job", Program("module", "this"), run_dir=str(scripts / "run"), start="cold")
    made = Fleet(job, LocalCluster(nodes=nodes), Inbox(), Output(stderr=said))
    yield made
    made.close()


def test_a_python_that_never_comes_up(fleet: Fleet, said: io.StringIO, scripts: Path) -> None:
    """It is said that it is waited for; then the node has a row of its own, the other is well."""
    nodes = fleet.nodes()
    fleet.begin(nodes)
    fleet.opened()
    got = fleet.ask({"host1": {}}, ("probe", "found"))
    fleet.ask({"host2": {}}, ("found",), 1.0)

    assert set(got["host1"]) == {"probe", "found"}
    (problem,) = fleet.problems
    assert str(problem) == (
        "host2: its python has not come up, for 1 s "
        f"(does this end there? {shlex.quote(str(scripts / 'half'))} -c 'import torch')"
    )
    assert "still waiting for host2 to answer (found)" in said.getvalue()


def test_ctrl_c_while_nodes_are_connected_to(plaunch: Launcher, scripts: Path) -> None:
    """It is heard at once, by a run and by `plaunch nodes`; nothing is left."""
    plaunch.write("silent.yaml", f"cluster: local\npython: {scripts / 'asks'}\n")
    (scripts / "asks").write_text("#!/bin/sh\ntouch asked\nexec cat 3>&1 >/dev/null\n")
    (scripts / "asks").chmod(0o755)
    for words in (["--no-python", "true"], ["nodes"]):
        (plaunch.folder / "asked").unlink(missing_ok=True)
        verb = [words.pop()] if words == ["nodes"] else []
        run = plaunch.start(*verb, "--cluster", "silent.yaml", *words)
        run.until_file("asked")
        run.signal(signal.SIGINT)
        done = run.wait()
        assert done.code == 130, done.err
        assert "no answer" not in done.err
        run.nothing_left()


def facts(time: float, asked_at: float, heard_at: float) -> preflight.Facts:
    probe = {
        "cores": 1, "addresses": {}, "reached_at": [], "free_disk": None, "shared": True,
        "user": "me", "workdir": True, "program": None, "driver": False, "differs": [],
        "main": None, "time": time, "asked_at": asked_at, "heard_at": heard_at,
    }  # fmt: skip
    return preflight.gather(Node("host1", "10.0.0.1"), probe, {"torch": "2"})


@pytest.mark.parametrize(
    ("time", "asked_at", "heard_at", "warned"),
    [
        (1000.0, 999.9, 1000.1, None),
        (1000.0, 980.0, 1000.1, None),  # slow to answer: it may have looked at any moment of it
        (1007.0, 999.9, 1000.1, "host1: its clock is +7 s off ours"),
        (4600.0, 980.0, 1000.0, "host1: its clock is +3610 s off ours"),
        (900.0, 980.0, 1000.0, "host1: its clock is -90 s off ours"),
    ],
)
def test_a_clock_is_judged_by_its_own_round_trip(
    time: float, asked_at: float, heard_at: float, warned: str | None
) -> None:
    """By more than the time in between leaves open, and by no other node's."""
    found = preflight.warnings([facts(time, asked_at, heard_at)], shared=False)

    assert found == ([] if warned is None else [warned])
