"""How a submitted job ended: its own result, or what SLURM's state says without one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from launcher.clusters.slurm.jobs import SlurmJob
from launcher.core.exit_codes import (
    CANCELLED,
    KILLED_FOR_MEMORY,
    NOT_AS_ASKED,
    PREEMPTED,
    TIMED_OUT,
    by_signal,
)
from launcher.core.job import Result, State, Verdict, VerdictKind

# Of an array's tasks, the result that counts is the worst.
_WORST = ("failed", "cancelled", "preempted", "succeeded")


def conclude(
    own: Result | None,
    job: SlurmJob | None,
    *,
    job_id: str,
    run_dir: str,
    seconds: float,
    cancelled_by: int | None = None,
) -> Result:
    """The result of a job that is over.

    ``own`` is what the run itself has left, ``job`` what SLURM says (None: it has forgotten the
    job), ``cancelled_by`` the signal on which we have cancelled it.
    """
    result = own
    if result is None:
        result = _without_own(job, job_id, run_dir, round(seconds, 3))
    elif result.state == "preempted" and job is not None and job.state == "CANCELLED":
        # it was back in the queue by then
        result = replace(result, state="cancelled", exit_code=CANCELLED)
    if cancelled_by is not None and result.state == "cancelled":
        result = replace(result, exit_code=by_signal(cancelled_by))
    return result


def _without_own(job: SlurmJob | None, job_id: str, run_dir: str, seconds: float) -> Result:
    state, code, kind = judge(job)
    message = in_words(job, job_id)
    verdict = None
    if kind is not None:
        node = job.batch_host or job.nodes if job is not None else ""
        verdict = Verdict(kind, None, node, code, message=message)
    return Result(
        job_id=job_id,
        state=state,
        exit_code=code,
        attempts=0 if job is None or not job.nodes else job.restarts + 1,
        preemptions=0,
        world_size=0,
        seconds=seconds,
        nodes=(),
        ranks=(),
        verdict=verdict,
        run_dir=run_dir,
    )


def judge(job: SlurmJob | None) -> tuple[State, int, VerdictKind | None]:
    """State, exit code and kind of failure by SLURM's state alone."""
    if job is None:
        return "failed", 1, "exit"
    if could_not_begin(job):
        return "failed", NOT_AS_ASKED, "start"
    code = by_signal(job.signal) if job.signal else job.exit_code
    kinds: dict[str, tuple[State, int, VerdictKind | None]] = {
        "COMPLETED": ("succeeded", 0, None),
        "CANCELLED": ("cancelled", CANCELLED, None),
        "PREEMPTED": ("preempted", PREEMPTED, None),
        "TIMEOUT": ("failed", TIMED_OUT, "hang"),
        "DEADLINE": ("failed", TIMED_OUT, "hang"),
        "NODE_FAIL": ("failed", 1, "lost_node"),
        "BOOT_FAIL": ("failed", 1, "lost_node"),
        "OUT_OF_MEMORY": ("failed", KILLED_FOR_MEMORY, "oom"),
    }
    return kinds.get(job.state, ("failed", code or 1, "exit"))


def could_not_begin(job: SlurmJob) -> bool:
    """Whether SLURM could not even open the job's output files where it was to run."""
    return job.state == "FAILED" and (job.signal == 53 or job.reason == "JobLaunchFailure")


def in_words(job: SlurmJob | None, job_id: str) -> str:
    """What became of a job that has left no result."""
    if job is None:
        return f"SLURM does not know job {job_id} any more, and it has left no result"
    return f"job {job_id}: {how_it_ended(job)}"


def how_it_ended(job: SlurmJob) -> str:
    """The same of a job that SLURM knows, without its number."""
    if could_not_begin(job):
        folder = f"its folder {job.workdir}" if job.workdir else "its folder"
        return (
            f"SLURM could not begin it: is {folder} there on {job.nodes or 'its nodes'}, shared "
            f"with this machine, and may you write to it? ({job.reason or 'signal 53'})"
        )
    ended = f"signal {job.signal}" if job.signal else f"exit code {job.exit_code}"
    words = {
        "COMPLETED": "it has ended with success, but its run folder can't be seen from here",
        "CANCELLED": "it was cancelled" + ("" if job.nodes else " before it began"),
        "PREEMPTED": "it was preempted, and is not queued again: next time with --requeue",
        "TIMEOUT": f"it reached its time limit of {job.time_limit}: give it more by --time, or let "
        "it save before its end and go on by --requeue",
        "DEADLINE": "it can't end before its deadline",
        "NODE_FAIL": "a node failed",
        "BOOT_FAIL": "a node could not boot",
        "OUT_OF_MEMORY": "it used more memory than it has: ask for more by --sbatch=--mem=...",
    }
    return words.get(job.state, f"it ended with {ended} ({job.state})")


def worst(results: Iterable[Result]) -> Result:
    """The result that counts for a whole array."""
    return min(results, key=lambda result: _WORST.index(result.state))
