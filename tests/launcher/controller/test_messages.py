"""What nodes and ranks may say: everything else is one named error, whatever it looks like."""

from __future__ import annotations

import contextlib
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from launcher.controller import attempts as controller
from launcher.controller.agents.link import Event, Inbox, Link, Lost
from launcher.controller.monitor.monitor import AttemptMonitor
from launcher.controller.placing.gpu_choice import node_gpus
from launcher.controller.placing.plan import Plan
from launcher.controller.system import System
from launcher.core.console.console import Output
from launcher.core.job import Job, Node, Placement, Program
from launcher.core.protocol.checks import from_agent, from_rank
from launcher.core.protocol.frames import ChannelError, Decoder, encode
from launcher.core.protocol.shapes import DATA, wrong
from launcher.rundir import records
from launcher.rundir.events import read_events
from launcher.rundir.rundir import RunDir

REAL: list[dict[str, Any]] = [
    {"type": "beat"},
    {"type": "note", "text": "starting cold"},
    {"type": "notice", "number": 15},
    {"type": "found", "python": "3.12.1", "problem": None},
    {
        "type": "probe", "hostname": "h", "cores": 4, "addresses": {"eth0": ["10.0.0.1", "fe::1"]},
        "reached_at": ["10.0.0.1"], "time": 1.7e9, "free_disk": 123, "workdir": True,
        "program": None, "differs": ["a.py"], "main": None, "shared": True, "driver": False,
        "user": "me",
    },
    {"type": "store", "port": 1234, "interface": "eth0", "problem": None},
    {"type": "reached", "problem": None, "address": "fe80::1%eth0", "interface": "eth0"},
    {"type": "listening", "port": 4321},
    {
        "type": "gpus", "visible": None, "error": "",
        "gpus": [{
            "index": 0, "machine_index": 0, "uuid": "GPU-1", "name": "H", "memory_total": 8,
            "memory_used": 1, "processes": [[12, "me"]], "exclusive": False, "leased": "",
            "parent": "", "mig_name": "", "usable": True, "problem": "",
        }],
    },
    {"type": "leased", "taken": ["GPU-1"], "refused": []},
    {"type": "want", "bytes": 4096, "always": False},
    {"type": "phase", "rank": 1, "phase": "joined"},
    {"type": "raw", "rank": 0, "err": True, "text": "abc"},
    {"type": "progress", "rank": 0, "step": 3, "epoch": 0, "checkpoint": "/a/b.ckpt"},
    {"type": "report", "rank": 1, "by": "user", "value": {"a": [1, 2.5, None, "x"]}},
    {
        "type": "failure", "rank": 0,
        "failure": {"type": "E", "message": "m", "traceback": "t", "chain": ["c"]},
    },
    {"type": "unstarted", "rank": 0, "problem": "no such file"},
    {
        "type": "exit", "rank": 0, "status": 1, "killed": False, "oom": False, "memory": "",
        "tail": ["last"],
    },
    {"type": "stopped", "attempt": 1, "swept": 0},
]  # fmt: skip
ODD = (
    None, True, -1, 0, 7, 10**30, 1.5, math.nan, math.inf, "", "x", "\ud800", "\0", [], {}, [[]],
    {"a": {}}, ["\ud83d"], [None], "exit", 1 << 63,
)  # fmt: skip


def mutated(message: dict[str, Any], dice: random.Random) -> Any:
    """The message with a few things changed, anywhere in it."""
    value = json.loads(json.dumps(message))
    for _ in range(dice.randint(0, 2)):
        place: Any = value
        while isinstance(place, (dict, list)) and place:
            key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if dice.random() < 0.5 or not isinstance(place[key], (dict, list)):
                if dice.random() < 0.3:
                    del place[key]
                else:
                    place[key] = dice.choice(ODD)
                break
            place = place[key]
        if isinstance(value, dict) and dice.random() < 0.1:
            value[dice.choice(("rank", "type", "more", "value"))] = dice.choice(ODD)
    return value


@pytest.mark.parametrize("message", REAL, ids=[message["type"] for message in REAL])
def test_what_our_agents_send_passes(message: dict[str, Any]) -> None:
    """Every kind, as it is; and no kind is checked that nothing sends."""
    assert from_agent(message) is message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "exit", "rank": 0}, "exit without status"),
        ({"type": "stopped", "attempt": "1", "swept": 0}, "attempt is a str"),
        ({"type": "surprise"}, "no known kind"),
        ({"type": ["exit"]}, "no known kind"),
        ({}, "no known kind"),
        ({"type": "beat", "more": 1}, "beat with something more"),
        ({"type": "notice", "number": 9}, "number is a int"),
        ({"type": "raw", "rank": 0, "err": False, "text": "\ud800"}, "text is a str"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], said: str) -> None:
    """The field that is missing or wrong is named, and nothing of what it held."""
    with pytest.raises(ChannelError, match="what no agent of ours sends") as caught:
        from_agent(change)
    assert said in str(caught.value)


def test_what_passes_can_be_worked_with() -> None:
    """GPUs in mutated messages are read without an error, or refused before."""
    dice = random.Random(5)
    (gpus,) = [message for message in REAL if message["type"] == "gpus"]
    passed = 0
    for _ in range(2000):
        with contextlib.suppress(ChannelError):
            for message in Decoder().feed(encode(mutated(gpus, dice))):
                passed += len(node_gpus("a", from_agent(message)).gpus)
    assert passed > 100


def test_depth_is_bounded_but_reports_go_deep() -> None:
    """Data may be nested as deep as anybody needs, and not until something breaks."""
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert not wrong(deep, DATA)
    assert wrong([deep], DATA)


class FakeFleet:
    """A fleet that hears what a test says, in place of agents."""

    def __init__(self) -> None:
        self.inbox, self.dropped = Inbox(), dict[str, str]()
        self.system = System()

    def next_event(self, timeout_s: float) -> Event | int | None:
        return self.inbox.get(timeout_s)

    def tell(self, *_: Any) -> None:
        """Nobody is there to obey."""

    def silent(self, _: float) -> list[str]:
        return []

    def drop(self, name: str, reason: str) -> None:
        self.dropped[name] = reason


def monitor_in(folder: Path, quiet: Any) -> tuple[AttemptMonitor, FakeFleet, Plan, RunDir]:
    """Two ranks on one node and one on another, followed."""
    job = Job("j", Program("script", "t.py"), run_dir=str(folder))
    nodes = [Node("a", "10.0.0.1"), Node("b", "10.0.0.2")]
    places = (Placement(nodes[0], 0, 0, 2), Placement(nodes[1], 1, 2, 1))
    fleet, rundir = FakeFleet(), RunDir(job)
    rundir.open()
    monitor = AttemptMonitor(job, fleet, places, 1, quiet, rundir, None)  # type: ignore[arg-type]
    return monitor, fleet, Plan(places, {}), rundir


def exit_of(rank: int, status: int = 0, **more: Any) -> dict[str, Any]:
    plain = {"killed": False, "oom": False, "memory": "", "tail": []}
    return {"type": "exit", "rank": rank, "status": status, **plain, **more}


@pytest.fixture
def quiet(tmp_path: Path) -> Any:
    """Output that goes to a file."""
    with (tmp_path / "out").open("w") as file:
        yield Output(file, file)


STOPPED = {"type": "stopped", "attempt": 1, "swept": 0}
GOOD = [("a", exit_of(0)), ("a", exit_of(1))]
LIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "a foreign rank's exit": [*GOOD, ("a", exit_of(2))],
    "a rank of nobody": [*GOOD, ("a", exit_of(77))],
    "a second exit": [("a", exit_of(0, 3)), ("a", exit_of(1, 0)), ("a", exit_of(0, 0))],
    "stopped for another attempt": [*GOOD, ("a", {**STOPPED, "attempt": 2})],
    "stopped without exits": [("a", STOPPED)],
    "killed ranks": [("a", exit_of(0, -9, killed=True)), ("a", exit_of(1, -9, killed=True))],
    "killed, and 0": [("a", exit_of(0, 0)), ("a", exit_of(1, -9, killed=True))],
}


@pytest.mark.parametrize("lie", LIES)
def test_no_success_with_a_rank_that_was_not_0(tmp_path: Path, quiet: Any, lie: str) -> None:
    """Well-formed messages that can't be true: the run fails with a verdict and a result."""
    monitor, fleet, plan, rundir = monitor_in(tmp_path / "run", quiet)
    ends = [("b", exit_of(2)), ("b", STOPPED), ("a", STOPPED)]
    for node, message in [*LIES[lie], *ends]:
        fleet.inbox.put(Event(node, from_agent(message)))
    state = monitor.follow()
    result = controller.conclude(monitor.job, plan, state, 0.0)
    rundir.finish(controller.remember(result, state, rundir))
    rundir.close()
    written = records.read_result(tmp_path / "run")
    assert written is not None
    assert (written["state"], written["exit_code"] != 0) == ("failed", True)
    assert written["verdict"]["node"] == "a"


def test_messages_without_sense_never_raise(tmp_path: Path, quiet: Any) -> None:
    """Thousands of mutations of real messages: refused by name, or followed to a verdict."""
    dice = random.Random(7)
    refused = followed = 0
    monitor, fleet, plan, rundir = monitor_in(tmp_path / "run", quiet)
    for number in range(6000):
        value = mutated(dice.choice(REAL), dice)
        frame = encode(value) if isinstance(value, dict) else b"\0\0\0\2[]"
        try:
            for message in Decoder().feed(frame):
                fleet.inbox.put(Event(dice.choice("ab"), from_agent(message)))
                followed += 1
        except ChannelError:
            refused += 1
        if number % 100 == 0:
            for node in "ab":
                fleet.inbox.put(Event(node, Lost("the test is over")))
            state = monitor.follow()
            result = controller.conclude(monitor.job, plan, state, 0.0)
            zero = all(rank.exit_code == 0 for rank in result.ranks)
            assert (result.exit_code == 0) == zero
            rundir.finish(controller.remember(result, state, rundir))
            monitor = AttemptMonitor(
                monitor.job, fleet, plan.places, 1, quiet, rundir, None  # type: ignore[arg-type]
            )  # fmt: skip
    rundir.close()
    assert records.read_result(tmp_path / "run") is not None
    assert refused > 1000
    assert followed > 500


def test_what_ranks_say_is_checked_for_them() -> None:
    """Fields of another version are left out, wrong ones refused; nobody speaks for another."""
    said = {"type": "progress", "step": 1, "rank": 7, "later": "version"}
    assert from_rank(said) == {"type": "progress", "step": 1}
    dice = random.Random(3)
    ranks = [m for m in REAL if m["type"] in ("report", "progress", "failure")]
    for _ in range(2000):
        value = mutated(dice.choice(ranks), dice)
        try:
            for message in Decoder().feed(encode(value)):
                assert "rank" not in from_rank(message)
        except ChannelError:
            continue


def test_reports_and_checkpoints_are_bounded(
    tmp_path: Path, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All values together have a size, said once; endless checkpoints don't fill the disk."""
    monkeypatch.setattr("launcher.controller.monitor.reports.ALL_REPORTS", 1000)
    monkeypatch.setattr("launcher.controller.monitor.reports.CHECKPOINTS", 20)
    monitor, fleet, _, rundir = monitor_in(tmp_path / "run", quiet)
    for rank, size in ((0, 600), (1, 600), (0, 10), (0, 600)):
        value = {"type": "report", "rank": rank, "by": "user", "value": "x" * size}
        fleet.inbox.put(Event("a", from_agent(value)))
    for step in range(1000):
        checkpoint = {"type": "progress", "rank": 0, "step": step, "checkpoint": f"/c/{step}"}
        fleet.inbox.put(Event("a", from_agent(checkpoint)))
    for rank in (0, 1):
        fleet.inbox.put(Event("a", exit_of(rank)))
    for node, message in (("a", STOPPED), ("b", exit_of(2)), ("b", STOPPED)):
        fleet.inbox.put(Event(node, message))
    state = monitor.follow()
    rundir.close()
    assert [len(state.values.get(rank) or "") for rank in (0, 1)] == [600, 0]
    assert state.checkpoint == "/c/999"
    events = read_events(tmp_path / "run" / "events.jsonl")
    assert len([event for event in events if event["event"] == "checkpoint"]) == 20
    assert (tmp_path / "out").read_text().count("is left out") == 1


class Speech:
    """A stream that brings what a test has written, and then ends, or breaks."""

    first_words_s = 20.0

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self._data, self._error = data, error

    def connect(self, *_: Any) -> Speech:
        return self

    def admit(self, _: Any) -> bytes:
        return b""

    def read(self, _: int) -> bytes:
        data, self._data = self._data, b""
        if not data and self._error is not None:
            raise self._error
        return data

    def write(self, _: bytes) -> None:
        """Nobody hears it."""

    def errors(self) -> str:
        return ""

    def wait(self, _: float) -> int | None:
        return None

    def close(self) -> None:
        """It has no end to close."""


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        (encode({"type": "note", "text": "n"}) * 600, None, "the connection was closed"),
        (encode({"type": "beat"}), KeyError("x"), "the connection broke"),
        (encode({"type": "nonsense"}), None, "it sent what no agent of ours sends"),
        ((70 << 20).to_bytes(4, "big"), None, "a message of 73400320 bytes"),
    ],
    ids=["notes", "error", "unknown", "size"],
)
def test_a_link_ends_with_a_reason_whatever_comes(
    body: bytes, error: Exception | None, reason: str
) -> None:
    """No flood of notes, no message and no error of a stream is more than a lost node."""
    node, inbox = Node("a", "10.0.0.1"), Inbox()
    link = Link(node, inbox)
    speech: Any = Speech(body, error)
    link.open(speech, lambda _: b"")
    heard = []
    while not isinstance(event := inbox.get(30), Event) or not isinstance(event.body, Lost):
        assert event is not None
        heard.append(event)
    assert reason in event.body.reason
    assert len(heard) <= 500
    link.close()


def test_a_backlog_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large messages stop the reading as many small ones do."""
    import threading

    monkeypatch.setattr("launcher.controller.agents.link.BACKLOG_BYTES", 100)
    inbox = Inbox()
    inbox.put(Event("a", {}, size=101))
    second = threading.Thread(target=inbox.put, args=(Event("a", {}, size=1),), daemon=True)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    inbox.get(1)
    second.join(30)
    assert not second.is_alive()
