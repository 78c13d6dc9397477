"""A SLURM job that is warned, preempted, requeued or loses a node goes on where it was saved.

A real training with `engine`, cut again and again in every way that SLURM has; what the user
cancelled stays cancelled.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.runs import PROGRAMS
from tests.testbed import Slurm, wait_until

pytestmark = pytest.mark.hosts

LONG_FIT = str(PROGRAMS / "long_fit.py")
AT = re.compile(r"rank \d is at step (\d+)")
BEGINS = re.compile(r"rank 0 begins at step (\d+)")
UP_S = 90


class Job:
    """A training with a rank on each node, as a batch job whose script ends in `exec plaunch`.

    ``after`` is what the script does after plaunch, which is then a child of bash.
    """

    def __init__(
        self,
        slurm: Slurm,
        name: str,
        steps: int,
        *options: str,
        nodes: int = 1,
        after: str | None = None,
    ) -> None:
        self.slurm, self.nodes = slurm, nodes
        self.folder = slurm.testbed.shared / name
        self.folder.mkdir()
        inside = f"/shared/{name}"
        script = f"plaunch --procs 1 --run-dir {inside}/run {LONG_FIT} {steps}"
        script = f"exec {script}" if after is None else f"{script}\n{after}"
        files = [f"--output={inside}/out", "--open-mode=append", f"--chdir={inside}"]
        self.id = slurm.submit(script, f"--nodes={nodes}", *files, *options)

    @property
    def out(self) -> str:
        """What plaunch and the ranks have said, over all runs of the job."""
        path = self.folder / "out"
        return path.read_text() if path.exists() else ""

    def wait_until_trains(self, run: int) -> None:
        """Wait until all ranks have made fifteen steps in the job's ``run``-th run."""
        self.wait_until_begun(run)
        wait_until(lambda: len(AT.findall(self.out)) >= self.nodes * run, f"run {run} trains", UP_S)

    def let_finish(self) -> None:
        """From now on the training waits for nothing."""
        (self.folder / "run/enough").touch()

    def wait_until_begun(self, count: int) -> None:
        """Wait until the training has begun for the ``count``-th time."""
        if count > 1:
            self.slurm.wait_until_back(self.id, count - 1)
        wait_until(lambda: len(self.begun) >= count, f"run {count} has begun", UP_S)

    @property
    def begun(self) -> list[int]:
        """The steps at which the job's runs began."""
        return [int(step) for step in BEGINS.findall(self.out)]

    @property
    def result(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / "run/result.json").read_text())
        return loaded

    def is_finished(self, steps: int, cuts: int) -> None:
        """Let it end, and wait: it began above zero each time, and has made all steps."""
        self.wait_until_begun(cuts + 1)
        self.let_finish()
        job = self.slurm.wait_for(self.id, "COMPLETED", timeout_s=UP_S)
        assert job["Restarts"] == str(cuts)
        assert self.begun[0] == 0
        assert len(self.begun) == cuts + 1
        assert all(a < b for a, b in zip(self.begun, self.begun[1:], strict=False)), self.begun
        assert f"finished at step {steps}" in self.out
        result = self.result
        assert (result["state"], result["exit_code"]) == ("succeeded", 0)
        assert result["attempts"] == cuts + 1


def call(slurm: Slurm, *words: str) -> None:
    done = slurm.testbed.call("host0", words)
    assert done.returncode == 0, done.stderr


def push_aside(slurm: Slurm, job: Job, run: int) -> None:
    """Have a job of a higher partition take the nodes, and give them back."""
    job.wait_until_trains(run)
    other = slurm.submit("sleep 1", "--partition=high", "--nodes=4", "--exclusive")
    slurm.wait_for(other, "COMPLETED", timeout_s=UP_S)


@pytest.mark.parametrize(
    ("options", "cuts"),
    [(["--signal=B:USR2@30"], 2), (["--signal=USR1@30"], 1), ([], 1)],
    ids=["warning-to-the-script", "warning-to-the-tasks", "default-signals"],
)
def test_a_preempted_job(slurm: Slurm, options: Sequence[str], cuts: int) -> None:
    """A higher partition needs the nodes: within the grace all is saved and comes back."""
    job = Job(slurm, f"preempted-{len(options)}{cuts}", 60, *options, nodes=2)
    for run in range(cuts):
        push_aside(slurm, job, run + 1)

    job.is_finished(60, cuts=cuts)
    assert job.result["preemptions"] == cuts
    assert [past["state"] for past in job.result["history"]] == ["preempted"] * cuts
    assert job.begun[1] >= 15


def test_a_script_that_goes_on_after_plaunch(slurm: Slurm) -> None:
    """Its next line is not reached while the job is on its way back, but at the end it is."""
    after = 'echo "next line: $?"'
    job = Job(slurm, "goes-on", 40, "--signal=USR1@30", after=after)
    job.wait_until_trains(1)
    call(slurm, "scancel", "--signal=USR1", job.id)

    job.is_finished(40, cuts=1)
    assert re.findall("next line: .*", job.out) == ["next line: 0"]


def test_a_job_that_is_put_back_by_hand(slurm: Slurm) -> None:
    """`scontrol requeue`, twice: SLURM brings it back by itself, and nothing more is asked."""
    job = Job(slurm, "requeued", 60)
    for run in (1, 2):
        job.wait_until_trains(run)
        call(slurm, "scontrol", "requeue", job.id)

    job.is_finished(60, cuts=2)
    assert job.result["preemptions"] == 2
    assert job.out.count("SLURM has put the job back in the queue") == 2


def test_a_job_that_is_warned(slurm: Slurm) -> None:
    """The batch script gets its signal: the job saves, and goes back into the queue."""
    job = Job(slurm, "warned", 60)
    job.wait_until_trains(1)
    call(slurm, "scancel", "--batch", "--signal=USR2", job.id)

    job.is_finished(60, cuts=1)
    assert job.out.count(f"SLURM job {job.id} is back in the queue") == 1


def test_slurms_own_warning_before_the_limit(slurm: Slurm) -> None:
    """--signal: SLURM sends it by its own clock, and the job has its whole time again."""
    for time in range(3):
        job = Job(slurm, f"own-warning-{time}", 60, "--time=1", "--signal=B:USR2@30")
        # It may come up to a minute early: where the machine is busy, to a shell that has not
        # become plaunch yet, which it ends.
        end = slurm.wait_until(
            job.id,
            lambda job: job["Restarts"] != "0" or job["JobState"] == "FAILED",
            "it is warned",
            120,
        )
        if end["JobState"] != "FAILED" or job.out:
            break
    assert end["Restarts"] != "0", job.out
    call(slurm, "scancel", job.id)
    assert f"SLURM job {job.id} is back in the queue" in job.out


def test_a_node_that_fails(slurm: Slurm) -> None:
    """Found by our own channel before SLURM knows: back in the queue, on from a checkpoint."""
    job = Job(slurm, "node", 60, nodes=2)
    job.wait_until_trains(1)
    wait_until(lambda: "step=10" in _checkpoints(job), "a checkpoint", UP_S)
    second = slurm.job(job.id)["NodeList"][-2]
    slurm.crash(f"host{second}")

    job.is_finished(60, cuts=1)
    (past,) = job.result["history"]
    assert (past["kind"], past["node"]) == ("lost_node", f"host{second}")
    slurm.boot(f"host{second}")


def _checkpoints(job: Job) -> str:
    return " ".join(path.name for path in (job.folder / "run").rglob("*.ckpt"))


def test_a_cancelled_job_stays_cancelled(slurm: Slurm) -> None:
    """Its signals are those of a requeue, its ranks have saved: but the user wants it gone."""
    job = Job(slurm, "cancelled", 600, "--requeue")
    job.wait_until_trains(1)
    call(slurm, "scancel", job.id)

    end = slurm.wait_for(job.id, "CANCELLED", timeout_s=UP_S)
    assert end["Restarts"] == "0"
    assert "plaunch: the job was cancelled" in job.out
    result = job.result
    assert (result["state"], result["exit_code"]) == ("cancelled", 143)


def test_a_job_that_may_not_be_put_back_ends_by_an_exit_code(slurm: Slurm) -> None:
    """`scontrol requeue` is refused: a code of RequeueExit brings it back nevertheless."""
    job = Job(slurm, "by-code", 60, "--no-requeue")
    for run in (1, 2):
        job.wait_until_trains(run)
        call(slurm, "scancel", "--batch", "--signal=USR2", job.id)
        job.wait_until_begun(run + 1)

    job.is_finished(60, cuts=2)
    assert job.out.count("exit code 99 puts the job back in the queue (RequeueExit)") == 2


def test_without_any_way_back_it_says_so(slurm: Slurm) -> None:
    """No requeue and no such exit code: 75, never 0, and the same command goes on later."""
    slurm.configure({"RequeueExit": None})
    job = Job(slurm, "no-way", 60, "--no-requeue")
    job.wait_until_trains(1)
    call(slurm, "scancel", "--batch", "--signal=USR2", job.id)

    end = slurm.wait_for(job.id, "FAILED", timeout_s=UP_S)
    assert end["ExitCode"] == "75:0"
    assert job.result["state"] == "preempted"
    assert "submit the job again: it goes on where it was saved" in job.out


def test_a_task_of_an_array_comes_back_alone(slurm: Slurm) -> None:
    """The last task's id is the array's own: only the task itself is put back."""
    folder: Path = slurm.testbed.shared / "array"
    folder.mkdir()
    script = f'exec plaunch --procs 1 --run-dir "/shared/array/$SLURM_ARRAY_TASK_ID" {LONG_FIT} 40'
    out = "--output=/shared/array/out-%a"
    job = slurm.submit(script, "--array=0-1", "--nodes=1", out, "--open-mode=append")

    def said(task: int) -> str:
        path = folder / f"out-{task}"
        return path.read_text() if path.exists() else ""

    wait_until(lambda: all("at step" in said(task) for task in (0, 1)), "both train", UP_S)
    call(slurm, "scancel", "--batch", "--signal=USR2", f"{job}_1")
    slurm.wait_until_back(f"{job}_1")
    wait_until(lambda: said(1).count("begins") == 2, "the second begins again", UP_S)
    for task in (0, 1):
        (folder / str(task) / "enough").touch()
    files = [folder / str(task) / "result.json" for task in (0, 1)]
    wait_until(lambda: all(file.exists() for file in files), "both finish", UP_S)

    assert all("finished at step 40" in said(task) for task in (0, 1))
    results = [json.loads(file.read_text()) for file in files]
    assert [(r["state"], r["attempts"], r["preemptions"]) for r in results] == [
        ("succeeded", 1, 0),
        ("succeeded", 2, 1),
    ]
