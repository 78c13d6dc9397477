"""What a job is called, from what its folder and SLURM say of it: pure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.batch import states as job_status
from launcher.clusters.slurm import jobs as slurm_jobs
from launcher.clusters.slurm.jobs import SlurmJob
from launcher.rundir import snapshot as run_facts
from launcher.rundir.index import Entry
from launcher.rundir.snapshot import RunFacts


def test_who_leads(tmp_path: Path) -> None:
    """The process that has the lock open, and no other."""
    (tmp_path / "lock").touch()
    assert not run_facts.leads(os.getpid(), tmp_path)
    with (tmp_path / "lock").open():
        assert run_facts.leads(os.getpid(), tmp_path)
        assert not run_facts.leads(os.getppid(), tmp_path)
    assert not run_facts.leads(1 << 22, tmp_path)
    assert not run_facts.leads(os.getpid(), tmp_path / "nowhere")


HOST = os.uname().nodename


PENDING = SlurmJob("12", state="PENDING", reason="Resources")


RUNNING = SlurmJob("12", state="RUNNING", nodes="host1")


def ended(state: str, **more: Any) -> SlurmJob:
    return SlurmJob("12", state=state, nodes="host1", **more)


@pytest.mark.parametrize(
    ("folder", "job", "expected"),
    [
        ("missing", PENDING, "queued (its nodes are not free yet (Resources))"),
        ("preempted", PENDING, "queued (its nodes are not free yet (Resources))"),
        ("missing", SlurmJob("12", state="CONFIGURING"), "queued (configuring)"),
        ("missing", RUNNING, "starting"),
        ("unknown", RUNNING, "running"),
        ("running", RUNNING, "running"),
        ("died", RUNNING, "running"),
        ("succeeded", RUNNING, "succeeded"),
        ("preempted", ended("COMPLETING"), "preempted"),
        ("running", ended("SUSPENDED"), "suspended"),
        ("succeeded", ended("COMPLETED"), "succeeded"),
        ("failed", ended("FAILED", exit_code=7), "failed"),
        ("preempted", ended("CANCELLED"), "cancelled"),
        ("cancelled", ended("CANCELLED"), "cancelled"),
        ("missing", ended("CANCELLED"), "cancelled"),
        ("unknown", ended("COMPLETED"), "died (the job in SLURM has ended with success"),
        (
            "unknown",
            ended("TIMEOUT", time_limit="1:00"),
            "failed (it reached its time limit of 1:0",
        ),
        ("unknown", ended("NODE_FAIL"), "failed (a node failed)"),
        ("unknown", ended("FAILED", exit_code=3), "failed (it ended with exit code 3 (FAILED))"),
        ("succeeded", None, "succeeded"),
        ("running", None, "running"),
        ("unknown", None, "died (SLURM doesn't know it any more, and it has no result)"),
        ("missing", None, "gone (SLURM doesn't know it any more, and it has no run folder)"),
    ],
)
def test_states_of_a_job_in_slurm(folder: str, job: SlurmJob | None, expected: str) -> None:
    """Its own result counts; while there is none, SLURM's state does."""
    entry = Entry("/runs/a", "slurm", slurm="12", whole_job=True)
    facts = RunFacts(folder, job={"host": "far"})
    state, reason = job_status.decide(entry, facts, [job] if job else [], None)
    said = f"{state} ({reason})" if reason else state
    assert said.startswith(expected)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("succeeded", "succeeded"),
        ("running", "running"),
        ("unknown", "unknown"),
        ("missing", "unknown"),
        ("preempted", "preempted"),
    ],
)
def test_states_while_slurm_is_away(folder: str, expected: str) -> None:
    """What the run folder knows."""
    entry = Entry("/runs/a", "slurm", slurm="12", whole_job=True)
    facts = RunFacts(folder, job={"host": "far"})
    assert job_status.decide(entry, facts, [], "SLURM can't be reached")[0] == expected


def test_a_run_in_somebodys_own_allocation() -> None:
    """The allocation lives on when the run has died."""
    entry = Entry("/runs/a", "slurm", slurm="12", job_id="x")
    assert job_status.decide(entry, RunFacts("died"), [RUNNING], None)[0] == "died"


def test_a_whole_array() -> None:
    """Its tasks are counted, those that have not begun too."""
    entry = Entry("/runs/a", "slurm", slurm="2")
    said = Path(__file__).parents[1] / "clusters/slurm_says/jobs.txt"
    jobs = [job for job in slurm_jobs.parse_jobs(said.read_text()) if job.array]
    assert job_status.decide(entry, RunFacts("missing"), jobs, None) == (
        "running",
        "array: 6 queued, 2 running",
    )


def task(number: int, state: str, result: dict[str, Any] | None = None) -> job_status.JobStatus:
    """A task of array 2 that has a run folder."""
    entry = Entry(f"/runs/a_{number}", "slurm", slurm=f"2_{number}")
    return job_status.JobStatus(entry, RunFacts(state, result=result), None, state)


def slurm_task(number: int, state: str, **more: Any) -> SlurmJob:
    return SlurmJob(str(10 + number), array=f"2_{number}", state=state, nodes="host1", **more)


FAILURE = {
    "job_id": "x", "state": "failed", "exit_code": 1, "attempts": 1, "preemptions": 0,
    "world_size": 2, "seconds": 1.0, "nodes": [], "ranks": [], "run_dir": "/runs/a_1",
    "verdict": {
        "kind": "exception", "rank": 1, "node": "host2", "exit_code": 1, "signal": None,
        "exception": {"type": "ValueError", "message": "no good", "traceback": ""},
        "last_lines": [], "victims": [], "attempt": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("jobs", "tasks", "said"),
    [
        (
            [slurm_task(n, "FAILED", exit_code=7) for n in range(3)],
            [],
            "failed (3 of 3): task 0: it ended with exit code 7 (FAILED)",
        ),
        (
            [slurm_task(0, "COMPLETED"), slurm_task(1, "FAILED", exit_code=1)],
            [task(0, "succeeded"), task(1, "failed", FAILURE)],
            "failed (1 of 2): task 1: rank 1: ValueError: no good",
        ),
        ([slurm_task(n, "COMPLETED") for n in range(3)], [], "succeeded (3 of 3)"),
        ([slurm_task(0, "COMPLETED"), slurm_task(1, "CANCELLED")], [], "cancelled (1 of 2)"),
        (
            [SlurmJob("2", array="2_[0-3]", state="CANCELLED")],
            [],
            "cancelled (4 of 4)",
        ),
        ([], [task(0, "succeeded"), task(1, "failed", FAILURE)],
         "failed (1 of 2): task 1: rank 1: ValueError: no good"),
        ([slurm_task(0, "FAILED"), slurm_task(1, "RUNNING")], [], "as it was"),
        ([slurm_task(0, "FAILED")], [task(1, "running")], "as it was"),
        ([], [], "as it was"),
    ],
)  # fmt: skip
def test_how_a_whole_array_ended(
    jobs: list[SlurmJob], tasks: list[job_status.JobStatus], said: str
) -> None:
    """The worst end, how many tasks had it, and why; by their own results where there are some."""
    row = job_status.JobStatus(
        Entry("/runs/a", "slurm", slurm="2"), RunFacts("missing"), None, "as it was"
    )
    found = job_status.whole_array(row, jobs, [row, *tasks])

    assert found.text == said
    assert all(job_status.whole_array(one, jobs, [row, *tasks]) is one for one in tasks)


def test_durations() -> None:
    """In the unit that people would use."""
    spans = [run_facts.duration(s) for s in (-1, 3.4, 119, 120, 7200, 200_000)]
    assert spans == ["0 s", "3 s", "119 s", "2 min", "2 h", "2 days"]
