"""How a submitted job ended: the run's own result first, SLURM's word where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.batch.follow import QueuedJob, Traces
from launcher.batch.outcome import conclude, worst
from launcher.clusters.slurm.jobs import Partition, SlurmJob, parse_partitions
from launcher.clusters.slurm.reasons import (
    exceeds_limits,
    never_starts,
    too_many_nodes,
    why_it_waits,
)
from launcher.core.console.console import Output
from launcher.core.job import Failure, PastAttempt, RankResult, Result, Verdict
from launcher.rundir.results import result_as_data, result_from_data
from launcher.rundir.tail import Tail

RESULT = Result(
    "0a1b2c3d", "failed", 7, 2, 1, 2, 3.5,
    ({"name": "host1", "address": "10.0.0.1", "gpus": ["GPU-1"]},),
    (RankResult(0, 0, "host1", 0, {"acc": [0.5, None]}), RankResult(1, 1, "host1", 7)),
    Verdict("exception", 1, "host1", 7, None, Failure("E", "no", "Trace"), ("a", "b"), (0,), 2, 5),
    "/shared/run",
    (PastAttempt(1, "preempted", step=4),),
)  # fmt: skip


def test_a_result_is_read_as_it_was_written() -> None:
    """Through JSON and back; lists that a rank returned stay lists."""
    assert result_from_data(json.loads(json.dumps(result_as_data(RESULT)))) == RESULT
    plain = replace(RESULT, verdict=None, ranks=(RankResult(0, 0, "h", 0, [1, [2]]),), history=())
    assert result_from_data(json.loads(json.dumps(result_as_data(plain)))) == plain


@pytest.mark.parametrize("data", [{}, {"verdict": None}, {"verdict": {}, "nodes": [], "ranks": []}])
def test_what_is_no_result(data: dict[str, Any]) -> None:
    """A file of something else is not taken for one."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        result_from_data(data)


def end(own: Result | None, job: SlurmJob | None, cancelled_by: int | None = None) -> Result:
    return conclude(own, job, job_id="12", run_dir="/r", seconds=9.0, cancelled_by=cancelled_by)


@pytest.mark.parametrize(
    ("job", "state", "code", "said"),
    [
        (SlurmJob("12", state="COMPLETED", nodes="h1"), "succeeded", 0, None),
        (SlurmJob("12", state="FAILED", exit_code=3, nodes="h1"), "failed", 3, "exit code 3"),
        (SlurmJob("12", state="FAILED", signal=9, nodes="h1"), "failed", 137, "signal 9"),
        (SlurmJob("12", state="CANCELLED", signal=15), "cancelled", 143, None),
        (SlurmJob("12", state="PREEMPTED", nodes="h1"), "preempted", 75, None),
        (SlurmJob("12", state="TIMEOUT", time_limit="00:05:00"), "failed", 124, "00:05:00"),
        (SlurmJob("12", state="NODE_FAIL", nodes="h[1-2]"), "failed", 1, "a node failed"),
        (SlurmJob("12", state="OUT_OF_MEMORY", signal=125), "failed", 137, "memory"),
        (SlurmJob("12", state="STRANGE"), "failed", 1, "STRANGE"),
        (
            SlurmJob("12", state="FAILED", signal=53, nodes="h1", workdir="/home/me"),
            "failed", 3, "is its folder /home/me there on h1",
        ),
        (SlurmJob("12", state="FAILED", reason="JobLaunchFailure"), "failed", 3, "shared with"),
        (None, "failed", 1, "does not know job 12"),
    ],
)  # fmt: skip
def test_an_end_without_a_result(
    job: SlurmJob | None, state: str, code: int, said: str | None
) -> None:
    """State and exit code by SLURM's word; never 0 for a job that failed."""
    result = end(None, job)

    assert (result.state, result.exit_code, result.ranks) == (state, code, ())
    assert (result.verdict is None) == (said is None)
    assert said is None or (result.verdict is not None and said in result.verdict.message)


def test_the_runs_own_result_is_the_truth() -> None:
    """Whatever SLURM makes of the exit code."""
    assert end(RESULT, SlurmJob("12", state="FAILED", exit_code=1)) == RESULT
    assert end(RESULT, None) == RESULT


def test_a_preempted_run_that_was_cancelled_in_the_queue() -> None:
    """Its result is of before; it does not come back."""
    preempted = replace(RESULT, state="preempted", exit_code=75, verdict=None)

    assert end(preempted, SlurmJob("12", state="FAILED", exit_code=75)).exit_code == 75
    cancelled = end(preempted, SlurmJob("12", state="CANCELLED"))
    assert (cancelled.state, cancelled.exit_code) == ("cancelled", 143)


def test_our_own_ctrl_c_is_130() -> None:
    """SLURM's TERM makes it 143 in the job; a run that succeeded all the same stays a success."""
    cancelled = replace(RESULT, state="cancelled", exit_code=143, verdict=None)
    done = replace(RESULT, state="succeeded", exit_code=0, verdict=None)

    assert end(cancelled, None, cancelled_by=2).exit_code == 130
    assert end(done, None, cancelled_by=2).exit_code == 0


def test_the_worst_task_is_the_arrays() -> None:
    """A failure before a cancelled or preempted task, whose codes are higher."""
    ends = [
        replace(RESULT, state=state, exit_code=code)
        for state, code in (("succeeded", 0), ("cancelled", 143), ("failed", 3), ("failed", 9))
    ]

    assert worst(ends).exit_code == 3
    assert worst(ends[:2]).exit_code == 143


def traces(folder: Path) -> Traces:
    return Traces(folder / "run", folder / "out", folder / "err")


def test_only_a_result_of_this_job_counts(tmp_path: Path) -> None:
    """A folder that is used again may hold a former run's."""
    followed = QueuedJob("12", traces(tmp_path), Output())
    run = tmp_path / "run"
    run.mkdir()
    assert followed.own_result() is None
    (run / "result.json").write_text(json.dumps(result_as_data(RESULT)))
    for job in (
        {"job_id": "0a1b2c3d", "slurm_job_id": "11"},
        {"job_id": "x", "slurm_job_id": "12"},
    ):
        (run / "job.json").write_text(json.dumps(job))
        assert followed.own_result() is None
    (run / "job.json").write_text(json.dumps({"job_id": "0a1b2c3d", "slurm_job_id": "12"}))
    assert followed.own_result() == RESULT
    (run / "result.json").write_text('{"job_id": "0a1b2c3d"}')
    assert followed.own_result() is None


def test_a_state_that_may_pass_is_looked_at_twice(tmp_path: Path) -> None:
    """A job that is preempted is over for a moment before it is back in the queue."""
    followed = QueuedJob("12", traces(tmp_path), Output())

    assert not followed.is_over(SlurmJob("12", state="PREEMPTED"))
    assert not followed.is_over(SlurmJob("12", state="PENDING"))
    assert not followed.is_over(SlurmJob("12", state="NODE_FAIL"))
    assert followed.is_over(SlurmJob("12", state="NODE_FAIL"))
    assert followed.is_over(SlurmJob("12", state="CANCELLED"))
    assert followed.is_over(None)


def test_what_is_said_of_a_jobs_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each change once, in words."""
    followed = QueuedJob("12", traces(tmp_path), Output())
    for state, reason, restarts, nodes in (
        ("PENDING", "None", 0, ""),
        ("PENDING", "Priority", 0, ""),
        ("PENDING", "Priority", 0, ""),
        ("PENDING", "Resources", 0, ""),
        ("RUNNING", "None", 0, "h1"),
        ("RUNNING", "None", 0, "h1"),
        ("COMPLETING", "None", 0, "h1"),
        ("PENDING", "BeginTime", 0, ""),
        ("PENDING", "BeginTime", 1, ""),
        ("PENDING", "Resources", 1, ""),
        ("RUNNING", "None", 1, "h2"),
        ("COMPLETED", "None", 1, "h2"),
    ):
        followed.tell(SlurmJob("12", state=state, reason=reason, restarts=restarts, nodes=nodes))

    assert capsys.readouterr().err.splitlines() == [
        "plaunch: job 12 waits: other jobs come first (Priority)",
        "plaunch: job 12 waits: its nodes are not free yet (Resources)",
        "plaunch: job 12 runs on h1",
        "plaunch: job 12 was preempted or requeued: back in the queue; it may not begin before a "
        "certain time (BeginTime)",
        "plaunch: job 12 waits: its nodes are not free yet (Resources)",
        "plaunch: job 12 runs on h2",
    ]


def test_a_job_that_is_over_at_the_first_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it ran is said, once; of one that never started, nothing."""
    quick, never = (QueuedJob(number, traces(tmp_path), Output()) for number in ("12", "13"))
    for _ in range(2):
        quick.tell(SlurmJob("12", state="COMPLETED", nodes="h[1-2]"))
        never.tell(SlurmJob("13", state="CANCELLED"))

    assert capsys.readouterr().err == "plaunch: job 12 ran on h[1-2]\n"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("", ""),
        ("None", ""),
        ("Resources", "its nodes are not free yet (Resources)"),
        ("ReqNodeNotAvail,_UnavailableNodes:h1", "can't be used now (ReqNodeNotAvail)"),
        ("QOSMaxJobsPerUserLimit", "quality of service is reached (QOSMaxJobsPerUserLimit)"),
        ("AssocGrpGRES", "a limit of its account is reached (AssocGrpGRES)"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_reasons(reason: str, words: str) -> None:
    """In words where we know some, and always with SLURM's own."""
    assert why_it_waits(reason).endswith(words)
    assert bool(why_it_waits(reason)) == bool(words)


GPUS, BIG = Partition("gpu", 4, default=True, max_nodes=2), Partition("big", 9)


@pytest.mark.parametrize(
    ("reason", "nodes", "partition", "never"),
    [
        ("PartitionTimeLimit", 1, "gpu", "more time than its partition allows"),
        ("BadConstraints", 1, "gpu", "no node is as it asks"),
        ("QOSMaxNodePerJobLimit", 1, "gpu", "quality of service"),
        ("AssocMaxWallDurationPerJobLimit", 1, "gpu", "its account"),
        ("PartitionNodeLimit", 5, "gpu", "5 nodes are asked for, and partition gpu has 2 (Part"),
        ("PartitionNodeLimit", 3, "gpu", "3 nodes are asked for, and partition gpu has 2 (Part"),
        ("PartitionNodeLimit", 2, "gpu", None),  # some are down, and may come back
        ("PartitionNodeLimit", 5, "gpu,big", None),
        ("PartitionNodeLimit", 99, "hidden", None),
        ("ReqNodeNotAvail,_UnavailableNodes:h1", 1, "gpu", None),
        ("QOSMaxJobsPerUserLimit", 1, "gpu", None),
        ("AssocGrpGRES", 1, "gpu", None),
        ("Resources", 1, "gpu", None),
        ("", 1, "gpu", None),
    ],
)
def test_what_never_starts(reason: str, nodes: int, partition: str, never: str | None) -> None:
    """By SLURM's reason, and by the number of nodes where that may be for now only."""
    job = SlurmJob("12", state="PENDING", reason=reason, num_nodes=nodes, partition=partition)
    found = never_starts(job, [GPUS, BIG])

    assert (found is None) == (never is None)
    assert never is None or (found is not None and never in found)
    assert never_starts(replace(job, state="RUNNING"), [GPUS, BIG]) is None


def test_too_many_nodes_are_known_before_the_queue() -> None:
    """By what the partitions have; what they allow, a quality of service may overrule."""
    assert too_many_nodes(4, "", [GPUS, BIG]) is None
    assert too_many_nodes(5, "", [GPUS, BIG]) == ("5 nodes are asked for, and partition gpu has 4")
    assert too_many_nodes(5, "big", [GPUS, BIG]) is None
    assert too_many_nodes(5, "", []) is None


@pytest.mark.parametrize(
    ("time", "nodes", "beyond"),
    [("01:00:00", 2, False), ("1-00:00:00", 1, False), ("1-00:00:01", 1, True),
     ("UNLIMITED", 1, True), ("05:00", 3, True)],
)  # fmt: skip
def test_beyond_a_partitions_limits(time: str, nodes: int, beyond: bool) -> None:
    """By time or nodes; no limit is more than any."""
    job = SlurmJob("12", time_limit=time, num_nodes=nodes, partition="gpu")
    gpus = replace(GPUS, max_time="1-00:00:00")

    assert exceeds_limits(job, [gpus, BIG]) is beyond
    assert not exceeds_limits(replace(job, partition="gpu,big"), [gpus, BIG])
    assert not exceeds_limits(job, [])


def test_never_has_to_be_said_twice(tmp_path: Path) -> None:
    """A reason that passes is none."""
    followed = QueuedJob("12", traces(tmp_path), Output())
    never = SlurmJob("12", state="PENDING", reason="PartitionTimeLimit")

    assert followed.never_starts(never) is None
    assert followed.never_starts(SlurmJob("12", state="PENDING", reason="Priority")) is None
    assert followed.never_starts(never) is None
    assert followed.never_starts(never) is not None


def test_partitions_as_scontrol_tells() -> None:
    """Names, sizes and limits."""
    text = (
        "PartitionName=gpu AllowGroups=ALL Default=YES MaxNodes=2 MaxTime=1-00:00:00 Nodes=h[1-4] "
        "State=UP TotalCPUs=64 TotalNodes=4\n"
        "PartitionName=big Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED TotalNodes=9 Nodes=n\n"
    )
    assert parse_partitions(text) == [replace(GPUS, max_time="1-00:00:00"), BIG]


def test_a_file_that_grows(tmp_path: Path) -> None:
    """What is new comes once, as it is; a file that was begun anew is read from its beginning."""
    path = tmp_path / "out"
    tail = Tail(path)
    assert tail.read() == b""
    path.write_bytes(b"half a line, half a char \xc3")
    assert tail.read() == b"half a line, half a char \xc3"
    assert tail.read() == b""
    with path.open("ab") as file:
        file.write(b"\xa9\n")
    assert tail.read() == b"\xa9\n"
    path.write_bytes(b"anew")
    assert tail.read() == b"anew"
    path.unlink()
    assert tail.read() == b""
