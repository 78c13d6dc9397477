"""Signals: cancel, kill, preempt, and the grace for each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.launcher.support.runs import Launcher, Run

# Says what it gets in a file; ends as its word says.
MAIN = """
import os, signal, sys, time
rank, how = os.environ["RANK"], sys.argv[1]
def note(number, _):
    with open(f"got{rank}", "a") as file: file.write(signal.Signals(number).name + "\\n")
    if how == "end": sys.exit(int(sys.argv[2]))
    if how == "default" and number == signal.SIGINT: raise KeyboardInterrupt
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(number, note)
open(f"ready{rank}", "w").close()
while True: time.sleep(0.05)
"""


def started(plaunch: Launcher, how: str, *words: str, terminal: bool = False) -> Run:
    plaunch.write("main.py", MAIN)
    run = plaunch.start(
        "--start", "cold", "--procs", "2", *words, "main.py", *how.split(), terminal=terminal
    )
    run.until_file("ready0", "ready1")
    return run


def got(run: Run, rank: int) -> list[str]:
    path = run.folder / f"got{rank}"
    return path.read_text().split() if path.exists() else []


def test_one_ctrl_c_cancels(plaunch: Launcher) -> None:
    """Ctrl-C on the terminal: ranks get SIGINT once and the grace; exit 130, cancelled."""
    run = started(plaunch, "end 0", terminal=True)
    run.type(b"\x03")
    done = run.wait()
    assert done.code == 130
    assert got(run, 0) == got(run, 1) == ["SIGINT"], done
    assert done.result is not None
    assert (done.result["state"], done.result["exit_code"]) == ("cancelled", 130)
    assert done.result["verdict"] is None
    assert [rank["exit_code"] for rank in done.result["ranks"]] == [0, 0]
    assert "the ranks have 30 s to end; Ctrl-C again kills them" in done.err


def test_ctrl_c_with_pythons_own_behaviour(plaunch: Launcher) -> None:
    """KeyboardInterrupt in the ranks is no failure of the run: it is cancelled."""
    plaunch.write(
        "main.py",
        """
        import os, time
        open(f"ready{os.environ['RANK']}", "w").close()
        while True: time.sleep(0.05)
        """,
    )
    run = plaunch.start("--start", "cold", "--procs", "2", "main.py", terminal=True)
    run.until_file("ready0", "ready1")
    run.type(b"\x03")
    done = run.wait()
    assert done.code == 130
    assert done.result is not None
    assert (done.result["state"], done.result["verdict"]) == ("cancelled", None)


def test_a_second_ctrl_c_kills(plaunch: Launcher) -> None:
    """Ranks that go on after the first Ctrl-C are killed by the second, long before the grace."""
    run = started(plaunch, "ignore", "--grace", "600", terminal=True)
    run.type(b"\x03")
    run.until(lambda: got(run, 0) and got(run, 1), "both ranks have the first Ctrl-C")
    run.until(lambda: "Ctrl-C again" in run.err, "the first is announced")
    # Two within a fifth of a second count as one: keep pressing.
    for _ in range(100):
        if run.process.poll() is not None or "killing" in run.err:
            break
        run.type(b"\x03")
        time.sleep(0.1)
    done = run.wait()
    assert done.code == 130
    assert done.result is not None
    assert done.result["state"] == "cancelled"
    assert [rank["exit_code"] for rank in done.result["ranks"]] == [137, 137]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", "SIGHUP"])
def test_other_signals_are_handed_on(plaunch: Launcher, name: str) -> None:
    """They reach the ranks as they are; ranks that end otherwise make it a cancelled run."""
    number = signal.Signals[name]
    run = started(plaunch, "end 0")
    run.signal(number)
    done = run.wait()
    assert got(run, 0) == got(run, 1) == [name]
    assert done.code == 128 + number
    assert done.result is not None
    assert done.result["state"] == "cancelled"
    message = "the terminal was closed" if name == "SIGHUP" else ""
    assert done.result["message"] == message


def test_a_closed_terminal(plaunch: Launcher) -> None:
    """Ranks that save then are preempted, and both the result and its status say of what."""
    run = started(plaunch, "end 75", terminal=True)
    assert run.terminal is not None
    os.close(run.terminal)
    run.terminal = None
    done = run.wait()
    assert got(run, 0) == got(run, 1) == ["SIGHUP"]
    assert done.code == 75
    assert done.result is not None
    assert (done.result["state"], done.result["exit_code"]) == ("preempted", 75)
    assert done.result["message"] == "the terminal was closed"
    assert "preempted (the terminal was closed)" in plaunch("status", str(done.run_dir)).out


def test_all_ranks_with_75_are_preempted(plaunch: Launcher) -> None:
    """After SIGTERM, 75 from all ranks is preempted and exit 75; from one of two it is not."""
    run = started(plaunch, "end 75")
    run.signal(signal.SIGTERM)
    done = run.wait()
    assert done.code == 75
    assert done.result is not None
    assert (done.result["state"], done.result["preemptions"]) == ("preempted", 1)
    assert done.result["verdict"] is None


def test_75_without_a_signal_waits_for_all(plaunch: Launcher) -> None:
    """Ranks that decide by themselves to be preempted needn't end at the same moment."""
    plaunch.write(
        "main.py",
        """
        import os, sys, time
        if os.environ["RANK"] == "0":
            open("pid0", "w").write(str(os.getpid()))
            sys.exit(75)
        while not os.path.exists("pid0"): time.sleep(0.01)
        while os.path.exists("/proc/" + open("pid0").read()): time.sleep(0.01)
        time.sleep(0.5)
        open("saved1", "w").close()
        sys.exit(75 if sys.argv[1] == "both" else 0)
        """,
    )
    done = plaunch("--start", "cold", "--procs", "2", "main.py", "both")
    assert (plaunch.folder / "saved1").exists()
    assert done.code == 75
    assert done.result is not None
    assert done.result["state"] == "preempted"
    (plaunch.folder / "pid0").unlink()
    done = plaunch("--start", "cold", "--procs", "2", "main.py", "one")
    assert done.code == 75
    assert done.result is not None
    assert (done.result["state"], done.verdict["rank"]) == ("failed", 0)


def test_grace_and_timeout(plaunch: Launcher) -> None:
    """Ranks that don't end are killed after --grace; --timeout ends a run that hangs with 124."""
    run = started(plaunch, "ignore", "--grace", "0.5")
    run.signal(signal.SIGTERM)
    done = run.wait()
    assert done.code == 143
    assert got(run, 0) == ["SIGTERM"]
    plaunch.write("hang.py", "import time\ntime.sleep(600)\n")
    done = plaunch("--start", "cold", "--timeout", "2", "hang.py")
    assert done.code == 124
    assert done.verdict["kind"] == "hang"
    assert "--timeout of 2 s" in done.err
    assert done.result is not None
    assert done.result["state"] == "failed"


def test_a_signal_before_there_are_ranks(plaunch: Launcher) -> None:
    """While nodes are still asked, a signal ends the run as cancelled, with a result."""
    plaunch.write("slow.py", "import time\nopen('up', 'w').close()\ntime.sleep(600)\n")
    run = plaunch.start("--preload", "slow", "main.py", env={"PYTHONPATH": str(plaunch.folder)})
    plaunch.write("main.py", "")
    run.until_file("up")
    run.signal(signal.SIGTERM)
    done = run.wait()
    assert done.code == 143
    assert done.result is not None
    assert done.result["state"] == "cancelled"


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_all_but_the_ranks_outlive_the_signal(plaunch: Launcher, start: str) -> None:
    """On Ctrl-C a rank still uses its DataLoader's worker, then saves and ends with 75."""
    plaunch.write(
        "main.py",
        """
        import os, signal, sys, time
        import torch.utils.data as data
        class Numbers(data.Dataset):
            def __len__(self): return 10000
            def __getitem__(self, index): return index
        if __name__ == "__main__":
            asked = []
            signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
            batches = iter(data.DataLoader(Numbers(), num_workers=1, prefetch_factor=2))
            next(batches)
            open("ready", "w").close()
            while not asked: time.sleep(0.01)
            for _ in range(100): last = next(batches)  # more than was prefetched
            open("saved", "w").write(str(int(last)))
            sys.exit(75)
        """,
    )
    run = plaunch.start("--start", start, "main.py")
    run.until_file("ready")
    run.signal(signal.SIGTERM)
    done = run.wait()
    assert done.code == 75, done.err
    assert (plaunch.folder / "saved").read_text() == "100"


def test_a_signal_that_comes_while_a_rank_is_forked() -> None:
    """The fork server ignores signals, its ranks don't: one sent in between is not lost."""
    code = """
import os, signal
from launcher.agent.forkserver.server import HELD, fork_with_signals_held
signal.signal(signal.SIGTERM, signal.SIG_IGN)
read, write = os.pipe()
pid = fork_with_signals_held()
if pid == 0:
    os.read(read, 1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    os._exit(0)
os.kill(pid, signal.SIGTERM)
os.write(write, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "-15\n", done.stderr
