"""Nodes and ranks that speak the protocol badly, in real runs: the run ends with a verdict."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import launcher
from launcher.rundir import records
from tests.launcher.support.runs import Launcher

ROOT = Path(__file__).parents[4]
PROBE = {
    "type": "probe", "hostname": "h", "cores": 4, "addresses": {"lo": ["127.0.0.1"]},
    "reached_at": [], "time": 0.0, "free_disk": None, "workdir": True, "program": None,
    "shared": True, "driver": False, "differs": [], "main": None, "user": "me",
}  # fmt: skip
HELLO = [{"type": "found", "python": "3", "torch": "2", "problem": None}, PROBE]
STORE = [{"type": "store", "port": 12345, "interface": None, "problem": None}]
EXIT = {
    "type": "exit", "rank": 0, "status": 0, "killed": False, "oom": False, "memory": "", "tail": [],
}  # fmt: skip
STOPPED = {"type": "stopped", "attempt": 1, "swept": 0}
TOO_DEEP = '{"type":"note","text":' + "[" * 200_000


@pytest.mark.parametrize(
    ("says", "verdict"),
    [
        ([{"type": "exit", "rank": 0}], "it sent what no agent of ours sends: exit without status"),
        ([TOO_DEEP], "a message that is no JSON, or nested without end"),
        ([{**EXIT, "status": -9, "killed": True}, STOPPED], "nobody had asked for its end"),
        ([STOPPED], "its agent never told how rank 0 ended"),
        ([{**EXIT, "rank": 5}], "exit of rank 5, which is not its own"),
    ],
    ids=["fields", "depth", "killed", "no-exit", "foreign"],
)
def test_a_node_that_lies(plaunch: Launcher, says: list[Any], verdict: str) -> None:
    """It is lost with a reason, the run has failed and a result says so: no traceback, no 0."""
    answers = plaunch.folder / "answers.json"
    answers.write_text(json.dumps({"hello": HELLO, "store": STORE, "start": says}))
    python = plaunch.folder / "fake-python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.launcher.support.fake_agent import main\nmain()\n"
    )
    python.chmod(0o755)
    plaunch.write("cluster.yaml", f"cluster: local\npython: {python}\n")
    plaunch.write("job.py", "raise SystemExit('this must not run')\n")
    done = plaunch(
        "--cluster", "cluster.yaml", "--procs", "1", "job.py", env={"FAKE_SAYS": str(answers)}
    )
    assert done.code != 0
    assert "Traceback" not in done.err
    assert done.result is not None, done.err
    assert (done.result["state"], done.result["exit_code"]) == ("failed", done.code)
    assert verdict in done.verdict["message"]


BABBLES = """\
import json, os, socket, sys

def line():
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.environ["PLAUNCH_SOCKET"])
    return sock

def frame(body):
    return len(body).to_bytes(4, "big") + body

rank = os.environ["RANK"]
if rank == "1":
    bodies = [
        b'{"type": "report", "value": ' + b"[" * 100_000, b"no json", b"[]", b'{"type": "exit"}',
        b'{"type": "failure", "failure": {"type": 1}}', b'{"type": "progress", "step": NaN}',
        b'{"type": "progress", "checkpoint": ["x"]}', b'{"type": "stopped", "attempt": 1}',
    ]
    for body in bodies:
        try:
            line().sendall(frame(body))
        except OSError:
            pass
    try:
        huge = line()
        huge.sendall((200 << 20).to_bytes(4, "big"))
        while True:
            huge.sendall(b"x" * 65536)
    except OSError:
        pass
    lines = [line() for _ in range(300)]  # and keeps them open
    own = json.dumps({"type": "report", "rank": 0, "value": "of rank 1"})
    lines[-1].sendall(frame(own.encode()))
else:
    keep = line()
    open("ready", "w").close()
    keep.sendall(frame(json.dumps({"type": "progress", "step": 5}).encode()))
    sys.stdin.read()
    keep.sendall(frame(json.dumps({"type": "report", "value": "of rank 0"}).encode()))
"""


def test_a_rank_that_babbles(plaunch: Launcher) -> None:
    """Its lines are closed and that is said once; another rank's line and the run go on."""
    plaunch.write("babble.py", BABBLES)
    done = plaunch("--procs", "2", "--start", "cold", "babble.py").ok()
    assert done.values == ["of rank 0", "of rank 1"]
    assert done.err.count("sent its agent a message that is ignored") == 1
    assert "rank 1 sent" in done.err


def test_a_fault_of_our_own_leaves_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks in the launcher itself, the run's folder tells that the run has failed."""

    def breaks(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("launcher.controller.attempts.run", breaks)
    Path("job.py").write_text("")
    with pytest.raises(RuntimeError, match="a bug"):
        launcher.launch("job.py", procs=1, run_dir="run", start="cold", quiet=True)
    result = records.read_result(tmp_path / "run")
    assert result is not None
    assert (result["state"], result["exit_code"]) == ("failed", 1)
    assert result["verdict"]["message"] == "the launcher itself failed: RuntimeError"
