"""Restarts: a fresh meeting for every attempt, a budget, and a guard against the same again."""

from __future__ import annotations

import json

import pytest

from tests.launcher.support.runs import Done, Launcher

# Fails in its first attempts as the words say, after a collective; then meets again and reports.
MAIN = """
import os, sys, torch, torch.distributed as dist
from launcher import report
how, last = sys.argv[1], int(sys.argv[2])
rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
print("attempt", attempt, "sum", total.item(), flush=True)
dist.barrier()  # both have said so before one of them fails
if attempt < last and rank == 1:
    if how == "exit": os._exit(3)
    if how == "kill": os.kill(os.getpid(), 9)
    raise RuntimeError(f"of attempt {attempt}" if how == "other" else "always the same")
if attempt < last: dist.barrier()
report({"attempt": attempt, "port": os.environ["MASTER_PORT"],
        "most": os.environ["TORCHELASTIC_MAX_RESTARTS"], "run": os.environ["TORCHELASTIC_RUN_ID"]})
dist.destroy_process_group()  # else torch may abort as the interpreter ends
"""


@pytest.mark.parametrize(("start", "most"), [("warm", 2), ("cold", 1)])
def test_restarts_until_it_works(plaunch: Launcher, start: str, most: int) -> None:
    """Restarts of two nodes: each attempt meets anew, logs go on, the result counts them."""
    plaunch.write("main.py", MAIN)
    done = plaunch(
        "--start", start, "--nodes", "2", "--max-restarts", str(most), "main.py", "exit", str(most)
    ).ok()
    assert done.result is not None
    assert (done.result["state"], done.result["attempts"]) == ("succeeded", most + 1)
    assert done.result["verdict"] is None
    assert [value["attempt"] for value in done.values] == [most, most]
    assert {value["most"] for value in done.values} == {str(most)}
    assert {value["run"] for value in done.values} == {done.result["job_id"]}
    for number in range(most):
        assert f"restart {number + 1} of {most}" in done.err
    assert done.err.count("rank 1 on local1 failed first: exit code 3") == most
    assert done.run_dir is not None
    for rank in (0, 1):
        log = (done.run_dir / "logs" / f"rank{rank}.log").read_text()
        for attempt in range(most + 1):
            assert f"attempt {attempt} sum 2.0" in log
    assert len(list((done.run_dir / "logs").iterdir())) == 2
    events = [json.loads(row) for row in (done.run_dir / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events if event["event"] in ("attempt", "failed")]
    assert kinds == [*["attempt", "failed"] * most, "attempt"]
    attempts = [event["attempt"] for event in events if event["event"] == "attempt"]
    assert attempts == list(range(1, most + 2))
    times = [event["time"] for event in events]
    assert times == sorted(times)


def test_the_budget_ends(plaunch: Launcher) -> None:
    """After the last restart the failure stands, with the attempt it came in."""
    plaunch.write("main.py", MAIN)
    done = plaunch("--procs", "2", "--max-restarts", "1", "main.py", "kill", "9")
    assert done.code == 137
    assert done.result is not None
    assert (done.result["state"], done.result["attempts"]) == ("failed", 2)
    assert (done.verdict["attempt"], done.verdict["signal"]) == (2, "SIGKILL")
    assert "all 1 restarts are used up" in done.err


def test_the_same_failure_twice_ends_it(plaunch: Launcher) -> None:
    """The same exception without a new checkpoint stops the run; another one does not."""
    plaunch.write("main.py", MAIN)
    done = plaunch("--procs", "2", "--max-restarts", "5", "main.py", "same", "9")
    assert done.code == 1
    assert done.result is not None
    assert done.result["attempts"] == 2
    assert "the same failure came twice with no new checkpoint between" in done.err
    done = plaunch("--procs", "2", "--max-restarts", "5", "main.py", "other", "3").ok()
    assert done.result is not None
    assert done.result["attempts"] == 4


def test_a_lost_node_is_started_again(plaunch: Launcher) -> None:
    """A killed agent costs one restart: a new one takes its place."""
    plaunch.write(
        "main.py",
        """
        import os, signal
        from launcher import report
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            if os.environ["RANK"] == "1": os.kill(os.getppid(), signal.SIGKILL)
            import time; time.sleep(600)
        report("went on")
        """,
    )
    done = plaunch("--start", "cold", "--nodes", "2", "--max-restarts", "1", "main.py").ok()
    assert done.values == ["went on", "went on"]
    assert "local1 is lost: its agent was killed by signal 9" in done.err


def test_a_restart_reads_on_from_standard_input(plaunch: Launcher) -> None:
    """A single rank that starts again gets the lines that nobody has read, and its end."""
    plaunch.write(
        "main.py",
        """
        import os, sys
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if first: os._exit(3)
        print("read", repr(sys.stdin.read()))
        """,
    )
    done = plaunch("--start", "cold", "--max-restarts", "1", "main.py", stdin=b"").ok()
    assert "read ''" in done.out


def test_attempts_are_counted_over_the_life_of_the_run_folder(plaunch: Launcher) -> None:
    """Failed, preempted, killed with the launcher, and done: the result tells of all, --restart
    forgets them. The ranks see the restarts of their own launcher only, as under torchrun.
    """
    plaunch.write(
        "main.py",
        """
        import os, signal, sys, time
        from launcher import report
        how = open("how").read().split(",")[int(os.environ["TORCHELASTIC_RESTART_COUNT"])]
        if how == "hang":
            open("up", "w").close()
            time.sleep(600)
        report(how)
        sys.exit(int(how))
        """,
    )
    words = ("--start", "cold", "--run-dir", "run", "--max-restarts", "1")

    def run(how: str, *more: str) -> Done:
        (plaunch.folder / "how").write_text(how)
        return plaunch(*words, *more, "main.py")

    def told(done: Done) -> tuple[int, int, list[tuple[int, str, str | None]]]:
        assert done.result is not None
        past = [(p["attempt"], p["state"], p["kind"]) for p in done.result["history"]]
        return done.result["attempts"], done.result["preemptions"], past

    done = run("3,75")
    history: list[tuple[int, str, str | None]] = [(1, "failed", "exit")]
    assert (done.code, told(done)) == (75, (2, 1, history))
    history.append((2, "preempted", None))
    (plaunch.folder / "how").write_text("hang")
    hanging = plaunch.start(*words, "main.py")
    hanging.until_file("up")
    hanging.process.kill()
    hanging.wait()
    hanging.nothing_left()
    history.append((3, "unknown", None))
    done = run("4,5")
    history.append((4, "failed", "exit"))
    assert (done.code, told(done)) == (5, (5, 1, history))
    assert done.verdict["attempt"] == 5
    done = run("75")
    history.append((5, "failed", "exit"))
    assert (done.code, told(done)) == (75, (6, 2, history))
    done = run("0", "--restart")
    assert (done.code, told(done)) == (0, (1, 0, []))
