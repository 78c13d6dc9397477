"""No process of a run stays, however it ends, and nobody else's is touched."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.agent.node import pulse
from launcher.agent.node.pulse import Pulse
from tests.launcher.support.runs import Launcher, Run, alive, until

# Every rank brings: a grandchild in a session of its own that ignores polite signals, a daemon
# that has wiped its environment, and workers by fork and by spawn; then it ends as its word says.
MAIN = """
import multiprocessing, os, signal, subprocess, sys, time
def work(name):
    for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)
    open(name, "w").write(str(os.getpid()))
    time.sleep(600)
if __name__ == "__main__":
    how, rank = sys.argv[1], os.environ["RANK"]
    sleeper = subprocess.Popen(["setsid", "sleep", "600"], stdout=subprocess.DEVNULL)
    daemon = (
        "import os, time\\n"
        "if os.fork(): os._exit(0)\\n"
        "os.setsid()\\n"
        "if os.fork(): os._exit(0)\\n"
        f"open('daemon{rank}', 'w').write(str(os.getpid())); time.sleep(600)\\n"
    )
    subprocess.run([sys.executable, "-I", "-c", daemon], env={}, stdout=subprocess.DEVNULL)
    for method in ("fork", "spawn"):
        name = f"{method}{rank}"
        context = multiprocessing.get_context(method)
        context.Process(target=work, args=(name,), daemon=True).start()
        while not os.path.exists(name) or not open(name).read(): time.sleep(0.01)
    while not os.path.exists(f"daemon{rank}") or not open(f"daemon{rank}").read(): time.sleep(0.01)
    open(f"rank{rank}.part", "w").write(f"{os.getpid()} {sleeper.pid}")
    os.rename(f"rank{rank}.part", f"ready{rank}")
    if how == "success": os._exit(0)  # without waiting for its workers
    if how == "failure":
        while rank == "1" and not os.path.exists("ready0"): time.sleep(0.01)
        os._exit(3) if rank == "1" else time.sleep(600)
    for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)
    time.sleep(600)
"""


def started(plaunch: Launcher, how: str, *words: str, terminal: bool = False) -> Run:
    plaunch.write("main.py", MAIN)
    words = words or ("--procs", "2")
    return plaunch.start("--start", "cold", *words, "main.py", how, terminal=terminal)


def pids(run: Run, ranks: int = 2) -> dict[str, int]:
    """The processes that the ranks have made, when all are there, by name."""
    texts = run.until_file(*(f"ready{rank}" for rank in range(ranks)))
    found = {}
    for rank, text in enumerate(texts):
        found[f"rank{rank}"], found[f"sleep{rank}"] = map(int, text.split())
        for name in ("daemon", "fork", "spawn"):
            found[f"{name}{rank}"] = int((run.folder / f"{name}{rank}").read_text())
    return found


def all_gone(run: Run, found: dict[str, int]) -> None:
    """Within the deadline neither the ranks' own nor any other process of the run lives."""
    run.nothing_left()
    until(
        lambda: not any(alive(pid) for pid in found.values()),
        f"left: {[name for name, pid in found.items() if alive(pid)]}",
        15,
    )


def own_processes(run: Run) -> dict[str, list[int]]:
    """The run's own processes: guards, agents and fork servers, by what they are."""
    parents = {}
    for pid in run.processes():
        with contextlib.suppress(OSError):
            stat = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
            parents[pid] = int(stat[1])
    guards = [pid for pid, parent in parents.items() if parent == run.pid]
    agents = [pid for pid, parent in parents.items() if parent in guards]
    return {"guard": guards, "agent": agents}


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that no run may touch; it lives in the run's folder."""
    process = subprocess.Popen(["sleep", "600"], cwd=tmp_path, start_new_session=True)
    yield process
    assert process.poll() is None, "a run has ended a process that is not its own"
    process.kill()
    process.wait()


@pytest.mark.parametrize(("how", "code"), [("success", 0), ("failure", 3)])
def test_after_the_end(
    plaunch: Launcher, bystander: subprocess.Popen[bytes], how: str, code: int
) -> None:
    """A rank's children, sessions of their own and daemons end with the run, on two nodes."""
    run = started(plaunch, how, "--nodes", "2")
    found = pids(run)
    assert len(found) == 10
    done = run.wait()
    assert done.code == code, done.err
    assert not [name for name, pid in found.items() if alive(pid)], "left at the launcher's end"
    all_gone(run, found)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_after_a_signal(
    plaunch: Launcher, bystander: subprocess.Popen[bytes], number: int, code: int
) -> None:
    """Ranks that ignore all signals are ended after the grace, with all that is theirs."""
    run = started(plaunch, "stay", "--procs", "2", "--grace", "0.3")
    found = pids(run)
    run.signal(number)
    assert run.wait().code == code
    all_gone(run, found)


@pytest.mark.parametrize("nodes", [1, 2])
def test_kill_9_of_the_launcher(
    plaunch: Launcher, bystander: subprocess.Popen[bytes], nodes: int
) -> None:
    """Agents whose launcher is gone end their ranks and themselves."""
    run = started(plaunch, "stay", "--nodes", str(nodes), "--procs", str(2 // nodes))
    found = pids(run)
    run.signal(signal.SIGKILL)
    run.wait()
    all_gone(run, found)


@pytest.mark.parametrize("which", ["agent", "guard"])
def test_kill_9_of_an_agent_or_guard(
    plaunch: Launcher, bystander: subprocess.Popen[bytes], which: str
) -> None:
    """The node is lost, the other one's ranks end too, and nothing of either is left."""
    run = started(plaunch, "stay", "--nodes", "2")
    found = pids(run)
    victim = own_processes(run)[which][-1]
    os.kill(victim, signal.SIGKILL)
    done = run.wait()
    assert done.code != 0
    assert done.result is not None
    assert done.result["state"] == "failed"
    assert done.verdict["kind"] == "lost_node"
    assert done.verdict["node"] in ("local0", "local1")
    assert "signal 9" in done.err
    all_gone(run, found)


def test_kill_9_of_agent_and_guard_at_once(plaunch: Launcher) -> None:
    """What is left without both: nothing that a parent-death signal reaches, the ranks first."""
    run = started(plaunch, "stay", "--procs", "1")
    found = pids(run, 1)
    own = own_processes(run)
    for pid in (*own["guard"], *own["agent"]):
        os.kill(pid, signal.SIGKILL)
    done = run.wait()
    assert done.verdict["kind"] == "lost_node"
    until(lambda: not alive(found["rank0"]), "the rank lives on", 15)
    run.end()  # its grandchildren are nobody's now: documented
    for pid in found.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_kill_9_of_a_rank(plaunch: Launcher, bystander: subprocess.Popen[bytes]) -> None:
    """It is the culprit by its signal; its children end, too."""
    run = started(plaunch, "stay")
    found = pids(run)
    os.kill(found["rank1"], signal.SIGKILL)
    done = run.wait()
    assert done.code == 137
    assert (done.verdict["kind"], done.verdict["rank"]) == ("signal", 1)
    all_gone(run, found)


def test_kill_9_of_the_fork_server(plaunch: Launcher) -> None:
    """Warm ranks end with their fork server: the node is lost, with a word on why."""
    plaunch.write(
        "main.py",
        """
        import os, time
        open("part", "w").write(f"{os.getpid()} {os.getppid()}")
        os.rename("part", "ready")
        time.sleep(600)
        """,
    )
    run = plaunch.start("--procs", "1", "main.py")
    rank, server = map(int, run.until_file("ready")[0].split())
    os.kill(server, signal.SIGKILL)
    done = run.wait()
    assert done.verdict["kind"] == "lost_node"
    assert "fork server" in done.err
    all_gone(run, {"rank": rank, "server": server})


def test_another_run_goes_on(plaunch: Launcher) -> None:
    """A run that is cancelled, and one that fails, leave the one beside them alone."""
    plaunch.write(
        "other.py",
        """
        import os, time
        open("other-is-up", "w").close()
        while not os.path.exists("go"): time.sleep(0.01)
        print("undisturbed", flush=True)
        """,
    )
    other = plaunch.start("--start", "cold", "other.py")
    other.until_file("other-is-up")
    run = started(plaunch, "stay", "--grace", "0.1")
    found = pids(run, 1)
    run.signal(signal.SIGTERM)
    run.wait()
    all_gone(run, found)
    plaunch.write("fail.py", "raise SystemExit(4)")
    assert plaunch("--start", "cold", "--nodes", "2", "fail.py").code == 4
    assert other.process.poll() is None
    (plaunch.folder / "go").touch()
    assert "undisturbed" in other.wait().ok().out


def test_an_agent_that_hangs_is_given_up_and_ended(plaunch: Launcher) -> None:
    """One that says nothing for 10 s is a lost node; its guard ends it, and all that is its own."""
    run = started(plaunch, "stay", "--procs", "1")
    found = pids(run, 1)
    own = own_processes(run)
    os.kill(own["agent"][0], signal.SIGSTOP)
    began = time.monotonic()
    done = run.wait()
    assert time.monotonic() - began > 5
    assert done.verdict["kind"] == "lost_node"
    assert "no word from it for 10 s" in done.err
    run.nothing_left(60)
    all_gone(run, found)


def test_when_a_guard_judges() -> None:
    """An agent with ranks that stands still for longer than its controller waits; never one that
    the guard did not watch all the while, as where all of a node was stopped or asleep."""
    busy, idle = Pulse(10, 0.0), Pulse(10, 0.0)
    assert not busy.has_stopped(pulse.IDLE + pulse.AT_WORK, 1.0)
    judged = [second for second in range(2, 130) if busy.has_stopped(b"", float(second))]
    assert judged[0] == 17
    judged = [second for second in range(1, 130) if idle.has_stopped(b"", float(second))]
    assert judged[0] == 121  # it may be asking drivers, and has no ranks to leave behind
    woken = Pulse(10, 0.0)
    assert not woken.has_stopped(pulse.AT_WORK, 1.0)
    assert not woken.has_stopped(b"", 1000.0)
    assert not woken.has_stopped(b"", 1001.0)
