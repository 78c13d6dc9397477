"""After a failure healthy ranks are asked to end and have a short grace; not if it is no use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.ranks.ending import QUIET_S, Stance, Watched, catches, stance
from launcher.agent.ranks.reports import RankReports
from launcher.agent.ranks.workers import Group, Worker
from launcher.agent.system import System
from tests.launcher.support.runs import Launcher, until

# Rank 1 fails once rank 0 does what its word says.
MAIN = """
import atexit, ctypes, os, signal, sys, threading, time
rank, how = os.environ["RANK"], sys.argv[1]
def write(name):
    with open(f"{name}.part", "w") as file: file.write(how)
    os.rename(f"{name}.part", f"{name}{rank}")
def end(number, _):
    write("handler")
    if how == "handler waits": threading.Event().wait(2 * float(sys.argv[2]))
    if how == "handler raises": raise RuntimeError("I was told to end")
    if how != "goes on": sys.exit(4)
if rank == "1":
    while not os.path.exists("ready0"): time.sleep(0.01)
    raise RuntimeError("gloo: Connection closed by peer" if how == "handler raises" else "boom")
if how == "ignores": signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif how != "no handler": signal.signal(signal.SIGTERM, end)
atexit.register(write, "atexit")
try:
    write("ready")
    if how == "stuck":  # as in a collective: no signal ends this call, so no handler runs
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)
    while True: time.sleep(0.05)
finally:
    write("finally")
"""
FOR_EVER = "600"  # if that were waited for, the test would fail by its deadline


def left(plaunch: Launcher) -> set[str]:
    """What rank 0 came to do."""
    return {path.name[:-1] for path in plaunch.folder.glob("[a-z]*0")} - {"ready"}


@pytest.mark.parametrize(
    ("how", "grace", "came_to_do"),
    [
        ("sys.exit", FOR_EVER, {"handler", "finally", "atexit"}),
        ("handler waits", FOR_EVER, {"handler", "finally", "atexit"}),
        ("no handler", FOR_EVER, set()),
        ("ignores", FOR_EVER, set()),
        ("stuck", FOR_EVER, set()),
        ("goes on", "0.3", {"handler"}),
        ("sys.exit", "0", set()),
    ],
)
def test_a_rank_that_can_end_in_order_does(
    plaunch: Launcher, how: str, grace: str, came_to_do: set[str]
) -> None:
    """Handlers, finally and atexit run; a rank without a handler, or one that no handler can reach,
    does not cost the grace; the verdict is the same in each case."""
    plaunch.write("main.py", MAIN)
    words = ("--start", "cold", "--procs", "2", "--failure-grace", grace)
    done = plaunch(*words, "main.py", how, str(QUIET_S))
    assert left(plaunch) == came_to_do
    assert done.code == 1
    assert (done.verdict["rank"], done.verdict["exception"]["message"]) == (1, "boom")
    assert done.verdict["victims"] == [0]
    assert done.result is not None
    code = 4 if "finally" in came_to_do else 137
    assert [rank["exit_code"] for rank in done.result["ranks"]] == [code, 1]


def test_what_a_rank_does_when_it_is_told_is_no_failure_of_its_own(plaunch: Launcher) -> None:
    """Of a victim and of a rank that raises in its handler, the victim is the one that is named."""
    plaunch.write("main.py", MAIN)
    done = plaunch("--start", "cold", "--procs", "2", "main.py", "handler raises")
    assert "handler" in left(plaunch)
    assert (done.verdict["rank"], done.verdict["victims"]) == (1, [0])
    assert "Connection closed by peer" in done.verdict["exception"]["message"]


def test_a_program_in_a_shell_is_asked_too(plaunch: Launcher) -> None:
    """Signals reach what a wrapper script has started, and it may end in order."""
    plaunch.write("main.py", MAIN)
    plaunch.write("wrapper.sh", f"{sys.executable} main.py sys.exit 1\ntouch after$RANK\nexit 7\n")
    done = plaunch("--procs", "2", "--failure-grace", FOR_EVER, "--no-python", "sh", "wrapper.sh")
    assert {"handler", "finally", "atexit", "after"} <= left(plaunch)
    assert (done.verdict["rank"], done.code) == (1, 7)


def test_ctrl_c_in_the_grace_kills_and_nothing_starts_again(plaunch: Launcher) -> None:
    """The run has failed, and that stays its end."""
    plaunch.write("main.py", MAIN)
    words = ("--start", "cold", "--procs", "2", "--failure-grace", FOR_EVER, "--max-restarts", "3")
    run = plaunch.start(*words, "main.py", "goes on")
    run.until_file("handler0")
    run.signal(signal.SIGINT)
    done = run.wait()
    assert (done.code, done.verdict["exception"]["message"]) == (1, "boom")
    assert done.result is not None
    assert (done.result["state"], done.result["attempts"]) == ("failed", 1)
    assert "killing the ranks" in done.err


ENGINE = """
import atexit, os, time, torch
from engine import LightningModule, Trainer
rank = os.environ["RANK"]
class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            open(f"ready{rank}", "w").close()
            while not os.path.exists("ready0"): time.sleep(0.01)
            if rank == "1": raise ValueError("boom")
            while True: time.sleep(0.01)
        return self.layer(batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
atexit.register(lambda: open(f"atexit{rank}", "w").close())
try:
    loader = torch.utils.data.DataLoader(torch.ones(40, 2), 2)
    Trainer(max_epochs=1, logger=False, enable_progress_bar=False).fit(Module(), loader)
finally:
    open(f"finally{rank}", "w").close()
"""


def test_an_engine_program_does_not_save_when_a_peer_has_failed(plaunch: Launcher) -> None:
    """SIGTERM is no preemption then: it ends, in order, and the failure is the run's end."""
    plaunch.write("main.py", ENGINE)
    done = plaunch("--procs", "2", "--failure-grace", FOR_EVER, "main.py")
    assert left(plaunch) == {"finally", "atexit"}
    assert (done.verdict["rank"], done.verdict["exception"]["message"]) == (1, "boom")
    assert done.result is not None
    assert [rank["exit_code"] for rank in done.result["ranks"]] == [143, 1]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that catches SIGTERM and waits for a line that never comes."""
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: open('came', 'w').close())\n"
        "open('ready', 'w').close()\n"
        "sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=tmp_path, start_new_session=True
    )
    until((tmp_path / "ready").exists, "the process is ready")
    yield process
    process.kill()
    process.communicate()


SAVES = """
import os, signal, subprocess, sys, threading, time

rank, stop = int(os.environ["RANK"]), threading.Event()

def save():
    stop.wait()
    {how}
    open("saved", "w").close()

if rank == 0:
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    thread = threading.Thread(target=save)
    thread.start()
    open("ready", "w").close()
    thread.join()
else:
    while not os.path.exists("ready"):
        time.sleep(0.01)
    sys.exit(3)
"""


@pytest.mark.parametrize(
    "how", ["time.sleep(2)", "subprocess.run([sys.executable, '-c', 'import time; time.sleep(2)'])"]
)
def test_a_thread_that_saves_has_the_grace(plaunch: Launcher, how: str) -> None:
    """The handler has told it to, and the main thread waits for it, in the same call as before."""
    plaunch.write("main.py", SAVES.replace("{how}", how))
    done = plaunch("--start", "cold", "--procs", "2", "--failure-grace", "60", "main.py")
    assert done.code == 3
    assert (plaunch.folder / "saved").exists()


def test_what_can_be_seen_of_a_process(process: subprocess.Popen[bytes]) -> None:
    """Whether it catches a signal, in which call it waits, and that it has moved since."""
    assert catches(process.pid)
    assert not catches(process.pid, signal.SIGUSR1)
    assert not catches(os.getpid(), signal.SIGUSR2)
    first = until(lambda: stance(process.pid), "it waits")
    assert not first.sleeps
    process.send_signal(signal.SIGTERM)
    until(lambda: (s := stance(process.pid)) and s.switches != first.switches, "it has moved")
    assert stance(1 << 30) is None


@pytest.mark.parametrize(
    ("changes", "stuck"),
    [
        ({}, True),
        ({"call": "1 moved"}, False),
        ({"switches": "more"}, False),
        ({"ticks": 9}, False),
        ({"gone": 1}, False),
    ],
)
def test_a_process_is_stuck_if_nothing_of_it_moves(
    changes: dict[str, str | int], stuck: bool
) -> None:
    """The same call as when the signal came, no switch, no processor time, for long enough."""
    now, at = 0.0, {"call": "202 0x1", "switches": "5", "ticks": 3}
    watched = Watched(7, "202 0x1", now)

    def seen() -> Stance | None:
        found = {**at, **(changes if now > QUIET_S / 2 else {})}
        return None if "gone" in found else Stance(*map(found.get, ("call", "switches", "ticks")))  # type: ignore[arg-type]

    judged = []
    while now < 1.4 * QUIET_S:
        judged.append(watched.is_stuck(seen(), now))
        now += QUIET_S / 10
    assert judged[-1] is stuck
    assert not any(judged[:10])


def test_a_sleep_is_no_collective() -> None:
    """A loop that polls wakes by itself, and may then see that it was told to end."""
    at = Stance("230 0x0", "5", 3)
    asked, raised = Watched(7, at.call, 0.0), Watched(7, None, 0.0)
    for tenths in range(30):
        asked_is = asked.is_stuck(at, tenths / 10)
        raised_is = raised.is_stuck(at, tenths / 10)
    assert (asked_is, raised_is) == (False, True)


def test_ends_that_we_asked_for_are_marked() -> None:
    """Whatever the code of a rank that was stopped, it is no failure of its own; one that was
    quicker than our kill is."""
    workers = [Worker(rank, rank, {}) for rank in range(3)]
    group = Group(1, workers, System(), with_stdin=False)
    for worker in workers:
        worker.pid = 1 << 30
    workers[0].stopped = workers[1].killed = workers[2].killed = True
    passed_on: list[dict[str, Any]] = []
    failure = {"type": "E", "message": "", "traceback": "", "chain": []}
    RankReports(lambda: group, passed_on.append, passed_on.append).hear(
        1 << 30, {"type": "failure", "failure": failure}
    )
    assert passed_on == []
    for worker, status in zip(workers, (1, 3, -signal.SIGKILL), strict=True):
        group.ended_with(worker, status)
    assert [worker.killed for worker in workers] == [True, False, True]
