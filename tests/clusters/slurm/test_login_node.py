"""From a SLURM login node: a run is queued, followed as if it ran here, and ended as asked."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.clusters.slurm.login import LoginRun, jobs
from tests.testbed import Slurm, wait_until

pytestmark = pytest.mark.hosts

# Ends when it is told to, so that tests wait for what happens and not for time to pass.
WAITS = """\
#!/bin/sh
printf 'no end of line'
echo 'a word of error' >&2
until test -e "go$SLURM_ARRAY_TASK_ID"; do sleep 0.1; done
echo
echo "the end of $RANK"
exit "${CODE:-0}"
"""
PROGRAM = ("--no-python", "./waits.sh")
FILES = {"waits.sh": WAITS}
AT_ONCE = {"waits.sh": WAITS, "go": ""}

REPORTS = """\
import os, sys
from launcher import report
print("said by", os.environ["RANK"], sys.argv[1:])
print("an error of", os.environ["RANK"], file=sys.stderr)
report({"rank": int(os.environ["RANK"]), "secret": len(os.environ["TOKEN"])})
sys.exit(int(os.environ.get("FAIL") == os.environ["RANK"]) * 7)
"""
ODD = ["a b", "it's", "$(hostname)", "; x", "", "a\nb", "-x"]


def test_a_run_as_if_it_ran_here(slurm: Slurm) -> None:
    """Words arrive unchanged, streams stay apart, and values, result and exit code come back."""
    words = ["--nodes", "2", "--procs", "2", "--env", "TOKEN", "--result", "result.json"]
    env = {"TOKEN": "hunter2"}
    files = {"my train.py": REPORTS}
    with LoginRun(slurm, *words, "my train.py", *ODD, files=files, env=env) as run:
        assert run.wait() == 0
        job = run.job

    assert {f"said by {rank} {ODD}" for rank in range(4)} == {
        line.partition("] ")[2] for line in run.out.splitlines()
    }
    assert "said by" not in run.err
    assert run.err.count("an error of") == 4
    assert run.err.count("plaunch: succeeded in") == 1
    assert re.search(rf"job {job} (runs|ran) on host\[1-2\]", run.err), run.err
    result = run.result()
    assert [rank["value"]["rank"] for rank in result["ranks"]] == [0, 1, 2, 3]
    assert {rank["value"]["secret"] for rank in result["ranks"]} == {7}
    assert result["run_dir"] == f"{run.inside}/plaunch_runs/my-train.py-{job}"
    script = slurm.testbed.call("host0", ["scontrol", "write", "batch_script", job, "-"]).stdout
    assert "--env TOKEN" in script
    assert "hunter2" not in script + run.err + run.out


def test_a_failing_rank_is_named_and_its_code_is_ours(slurm: Slurm) -> None:
    """The verdict comes once, from the job."""
    env = {"TOKEN": "x", "FAIL": "1"}
    words = ["--nodes", "2", "--env", "TOKEN", "train.py"]
    with LoginRun(slurm, *words, files={"train.py": REPORTS}, env=env) as run:
        assert run.wait() == 7

    assert run.err.count("plaunch: rank 1 on host2 failed first: exit code 7") == 1


def test_why_it_waits_is_told_and_when_it_runs(slurm: Slurm) -> None:
    """The queue's reason in words; when the nodes are free it starts."""
    blocker = slurm.submit("sleep 300", "--nodes=4", "--exclusive")
    slurm.wait_for(blocker, "RUNNING")
    with LoginRun(slurm, "--nodes", "4", *PROGRAM, files=AT_ONCE) as run:
        run.until("waits: its nodes are not free yet (Resources)")
        slurm.testbed.call("host0", ["scancel", blocker])
        assert run.wait() == 0

    assert run.err.count("(Resources)") == 1
    assert re.search("job [0-9]+ (runs|ran) on host\\[1-4\\]", run.err), run.err


def test_bytes_come_as_they_are_written(slurm: Slurm) -> None:
    """Output is seen while the job runs, also a line that has no end yet."""
    with LoginRun(slurm, *PROGRAM, files=FILES) as run:
        run.until("no end of line")
        run.until("a word of error")
        assert run.state() == "RUNNING"
        assert run.out == "no end of line"
        (run.folder / "go").touch()
        assert run.wait() == 0

    assert run.out == "no end of line\nthe end of 0\n"


def test_detached(slurm: Slurm) -> None:
    """The number alone on standard output; the job goes on by itself."""
    words = ["--detach", "--result", "result.json"]
    with LoginRun(slurm, *words, *PROGRAM, files=AT_ONCE) as run:
        assert run.wait() == 0

    job = run.out.removesuffix("\n")
    assert job.isdigit()
    slurm.wait_for(job, "COMPLETED")
    assert run.result()["state"] == "succeeded"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_signal_cancels_the_job(slurm: Slurm, number: signal.Signals, code: int) -> None:
    """Where nobody can be asked; the end is waited for."""
    with LoginRun(slurm, "--result", "result.json", *PROGRAM, files=FILES) as run:
        run.until("no end of line")
        run.signal(number)
        assert run.wait() == code
        assert run.state() == "CANCELLED"

    assert run.result()["state"] == "cancelled"


def test_a_job_is_cancelled_in_the_queue(slurm: Slurm) -> None:
    """It never began, and an older result is not taken for its own."""
    files = {**FILES, "result.json": '{"state": "succeeded"}'}
    run_dir = ["--run-dir", "mine", "--result", "result.json"]
    with LoginRun(slurm, "--sbatch=--begin=now+1hour", *run_dir, *PROGRAM, files=files) as run:
        run.until("waits: it may not begin before a certain time (BeginTime)")
        run.signal(signal.SIGTERM)
        assert run.wait() == 143

    assert "cancelled before it began" in run.err
    assert (run.result()["state"], run.result()["exit_code"]) == ("cancelled", 143)


def test_a_closed_terminal_leaves_the_job_running(slurm: Slurm) -> None:
    """SIGHUP ends the waiting only, and says how to find the job again."""
    with LoginRun(slurm, *PROGRAM, files=FILES) as run:
        run.until("no end of line")
        run.signal(signal.SIGHUP)
        assert run.wait() == 129
        assert run.state() == "RUNNING"

    assert f"plaunch status {run.job}" in run.err


QUESTION = "c to cancel it, l to leave it running, Enter to keep waiting? "


def test_ctrl_c_asks_and_c_cancels(slurm: Slurm) -> None:
    """Once asked, the answer is obeyed."""
    with LoginRun(slurm, *PROGRAM, files=FILES, terminal=True) as run:
        run.until("no end of line")
        run.type(b"\x03")
        run.until(QUESTION)
        run.type(b"c\n")
        assert run.wait() == 130
        assert run.state() == "CANCELLED"


def test_ctrl_c_twice_cancels(slurm: Slurm) -> None:
    """The second needs no answer."""
    with LoginRun(slurm, *PROGRAM, files=FILES, terminal=True) as run:
        run.until("no end of line")
        run.type(b"\x03")
        run.until(QUESTION)
        run.type(b"\x03")
        assert run.wait() == 130
        assert run.state() == "CANCELLED"


def test_ctrl_c_can_leave_the_job_running(slurm: Slurm) -> None:
    """l goes, and the job stays."""
    with LoginRun(slurm, *PROGRAM, files=FILES, terminal=True) as run:
        run.until("no end of line")
        run.type(b"\x03")
        run.until(QUESTION)
        run.type(b"l\n")
        assert run.wait() == 130
        assert run.state() == "RUNNING"


def test_ctrl_c_by_mistake(slurm: Slurm) -> None:
    """Enter goes on waiting."""
    with LoginRun(slurm, *PROGRAM, files=FILES, terminal=True) as run:
        run.until("no end of line")
        run.type(b"\x03")
        run.until(QUESTION)
        run.type(b"\n")
        (run.folder / "go").touch()
        run.until("the end of 0")
        assert run.wait() == 0


def test_a_question_that_nobody_answers(slurm: Slurm) -> None:
    """When the job has ended there is nothing to ask any more."""
    with LoginRun(slurm, *PROGRAM, files=FILES, terminal=True) as run:
        run.until("no end of line")
        run.type(b"\x03")
        run.until(QUESTION)
        (run.folder / "go").touch()
        assert run.wait() == 0

    assert "the end of 0" in run.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--partition", "nowhere"], "invalid partition specified: nowhere"),
        (["--gpus", "99"], "Requested node configuration is not available"),
        (["--sbatch=--constraint=odd"], "Invalid feature specification"),
    ],
)
def test_what_slurm_refuses(slurm: Slurm, words: list[str], said: str) -> None:
    """Exit code 3, one line with SLURM's own words, and nothing in the queue."""
    with LoginRun(slurm, *words, *PROGRAM, files=FILES) as run:
        assert run.wait() == 3

    assert said in run.err
    assert run.err.count("\n") == 1
    assert jobs(slurm) == []


def test_what_is_found_before_anything_is_queued(slurm: Slurm) -> None:
    """A script, a program, a run folder that can't be used: exit code 2, nothing in the queue."""
    mine = {"job.json": '{"program": "script other.py", "args": []}'}
    for words, said in (
        (["train.py"], "script not found: train.py"),
        (["--no-python", "./nothing"], "script not found: ./nothing"),
        (["--run-dir", ".", *PROGRAM], "belongs to a run of another program"),
        (["--cluster", "bad.yaml", *PROGRAM], "no interpreter /nowhere/python"),
        (["--time", "2h", *PROGRAM], "--time 2h"),
    ):
        config = {"bad.yaml": "cluster: slurm\npython: /nowhere/python\n"}
        with LoginRun(slurm, *words, files={**FILES, **mine, **config}) as run:
            assert run.wait() == 2
        assert said in run.err
        assert run.err.count("\n") == 1
    assert jobs(slurm) == []


def test_slurm_is_away_at_submission(slurm: Slurm) -> None:
    """Exit code 3, and it says that nothing is queued."""
    slurm.stop_controller()
    with LoginRun(slurm, *PROGRAM, files=FILES) as run:
        wait_until(lambda: _is_asking(slurm), "sbatch waits for its controller")
        run.signal(signal.SIGINT)  # it is heard when it is known whether there is a job
        assert run.wait() == 3

    assert "Unable to contact slurm controller" in run.err
    assert "nothing is queued; try again" in run.err


def _is_asking(slurm: Slurm) -> bool:
    return any(process.cmdline[:1] == ("sbatch",) for process in slurm.testbed.processes("host0"))


def test_slurm_is_away_while_a_job_runs(slurm: Slurm) -> None:
    """Said once; the job's output and its result come all the same."""
    with LoginRun(slurm, *PROGRAM, files=FILES) as run:
        run.until("no end of line")
        slurm.stop_controller()
        run.until("SLURM can't be reached")
        (run.folder / "go").touch()
        assert run.wait() == 0

    assert run.err.count("SLURM can't be reached") == 1
    assert "the end of 0" in run.out


def test_a_job_that_is_put_back_is_followed_on(slurm: Slurm) -> None:
    """Its second run's output follows the first one's."""
    with LoginRun(slurm, "--result", "result.json", *PROGRAM, files=FILES) as run:
        run.until("no end of line")
        slurm.testbed.call("host0", ["scontrol", "requeue", run.job])
        run.until("was preempted or requeued: back in the queue")
        slurm.wait_until_back(run.job)
        wait_until(lambda: run.out.count("no end of line") == 2, "it runs again", 60)
        (run.folder / "go").touch()
        assert run.wait() == 0

    assert run.err.count("was preempted or requeued") == 1
    assert run.out.endswith("the end of 0\n")
    assert run.result()["attempts"] == 2


def test_an_array(slurm: Slurm) -> None:
    """Two tasks at a time; each task's end is told, the worst is the array's."""
    words = ["--array", "0-3%2", "--result", "result.json"]
    program = WAITS.replace('"${CODE:-0}"', "$((SLURM_ARRAY_TASK_ID == 2 ? 9 : 0))")
    files = {"waits.sh": program}
    with LoginRun(slurm, *words, *PROGRAM, files=files) as run:
        run.until("_0 runs on host1")
        run.until("_1 runs on host1")
        states = [job["JobState"] for job in slurm.jobs(_array(run))]
        assert sorted(states) == ["PENDING", "RUNNING", "RUNNING"]
        for number in range(4):
            (run.folder / f"go{number}").touch()
        assert run.wait() == 9

    array = _array(run)
    for number in (0, 1, 3):
        assert f"task {array}_{number} succeeded" in run.err
    assert f"task {array}_2 failed with exit code 9" in run.err
    said = run.folder / f"plaunch_runs/waits.sh-{array}/slurm-{array}_2.out"
    assert "the end of 0" in said.read_text()
    result = run.result()
    assert (result["state"], result["exit_code"]) == ("failed", 9)
    assert {task: one["state"] for task, one in result["tasks"].items()} == {
        "0": "succeeded", "1": "succeeded", "2": "failed", "3": "succeeded",
    }  # fmt: skip


def test_an_array_is_cancelled_as_a_whole(slurm: Slurm) -> None:
    """Tasks that run and tasks that wait."""
    with LoginRun(slurm, "--array", "0-2%1", *PROGRAM, files=FILES) as run:
        run.until("_0 runs on host1")
        run.signal(signal.SIGTERM)
        assert run.wait() == 143
        assert {job["JobState"] for job in slurm.jobs(_array(run))} == {"CANCELLED"}

    assert "is over: 3 cancelled" in run.err


def _array(run: LoginRun) -> str:
    return run.err.partition("plaunch: array ")[2].partition(" ")[0]


LAUNCHES = """\
import json, sys
from launcher import JobFailed, launch, submit

def train(first, *, second):
    import os
    if first == "bad":
        raise ValueError("no good")
    return [first, second, int(os.environ["RANK"]), os.environ["TOKEN"]]

if __name__ == "__main__":
    options = {"cluster": "slurm", "nodes": 2, "env": {"TOKEN": "a b"}, "time": 10}
    result = launch(train, (1,), {"second": [2.5, None]}, **options)
    print(json.dumps([result.values, result.run_dir]))
    try:
        launch(train, ("bad",), {"second": 0}, **options)
    except JobFailed as failed:
        print(failed.result.verdict.exception.type, failed.result.exit_code)
    run = submit(train, (5,), {"second": 0}, **options)
    begun = run.status().partition(" ")[0] in ("queued", "starting", "running")
    values = run.result(100).values
    print(json.dumps([run.job_id.isdigit(), begun, values, run.done(), run.status()]))
    run = submit(train, (6,), {"second": 0}, sbatch="--begin=now+1hour", **options)
    run.cancel()
    try:
        run.result(60)
    except JobFailed as failed:
        print(failed.result.state, run.done())
"""


def test_a_function_from_python(slurm: Slurm) -> None:
    """launch(function) from the login node: its values and its failure; no pickle is left.

    submit() is a job in the queue, which its handle follows to its values, or cancels.
    """
    command = ("python", "launches.py")
    with LoginRun(slurm, files={"launches.py": LAUNCHES}, command=command) as run:
        assert run.wait(240) == 0

    first, second, third, fourth = run.out.splitlines()
    values, run_dir = json.loads(first)
    assert values == [[1, [2.5, None], rank, "a b"] for rank in (0, 1)]
    assert second == "ValueError 1"
    in_background = [[5, 0, rank, "a b"] for rank in (0, 1)]
    assert json.loads(third) == [True, True, in_background, True, "succeeded"]
    assert fourth == "cancelled True"
    assert list((run.folder / "plaunch_runs").rglob("*.pickle")) == []
    assert Path(run_dir).parent == Path(run.inside, "plaunch_runs")
