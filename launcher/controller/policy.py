"""What to do after an attempt has failed, or a scheduler wants it to end: pure decisions.

Nothing is restarted or requeued here (attempts.py, requeue.py), and nobody is judged (verdict.py).
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.core import exit_codes
from launcher.core.job import Result, State, Verdict


@dataclass(frozen=True)
class Decision:
    """Whether to start again, and the sentence that says why or why not."""

    restart: bool
    reason: str


@dataclass(frozen=True)
class Attempt:
    """A failed attempt: its verdict, and the newest checkpoint that it is known to have written."""

    verdict: Verdict
    checkpoint: str | None = None


def after_failure(history: Sequence[Attempt], max_restarts: int) -> Decision:
    """Restart while the budget lasts, unless the same failure comes again without progress.

    The guard needs a failure that is the same to the letter (an exception with its traceback, or a
    program that can't start): a crash by signal or a lost node may be the machine's fault. Programs
    that report no checkpoints are held to the same rule.
    """
    used = len(history) - 1
    if max_restarts == 0:
        return Decision(False, "")
    if used >= max_restarts:
        return Decision(False, f"all {max_restarts} restarts are used up")
    if len(history) > 1 and same_failure(history[-2].verdict, history[-1].verdict):
        before, now = history[-2].checkpoint, history[-1].checkpoint
        if before == now:
            return Decision(False, "the same failure came twice with no new checkpoint between")
    return Decision(True, f"restart {used + 1} of {max_restarts}")


def same_failure(one: Verdict, other: Verdict) -> bool:
    """Whether two attempts failed of the very same thing."""
    if one.kind != other.kind:
        return False
    if one.kind == "start":
        return one.message == other.message
    if one.exception is None or other.exception is None:
        return False
    return one.exception == other.exception


@dataclass(frozen=True)
class Scheduled:
    """What the scheduler says of our job at the end of a run.

    ``running``: it does not end the job (yet). ``requeued``: it has put the job back into the queue
    already. ``preempting``: it will take the nodes away. ``timed_out``: the time limit has ended
    the job. ``requeueable``: the job may be put back.
    """

    running: bool = True
    requeued: bool = False
    preempting: bool = False
    timed_out: bool = False
    requeueable: bool = True


@dataclass(frozen=True)
class RequeueDecision:
    """What the run's end is called, and whether the job is requeued.

    ``requeue`` "already": the scheduler has seen to it; "ask": it is to be asked; "no": never.
    """

    state: State
    exit_code: int
    requeue: Literal["already", "ask", "no"] = "no"
    reason: str = ""


PREEMPTING = "SLURM preempts the job"
EARLY_S = 60.0  # a program that is still starting has nothing to save
PREEMPTED = exit_codes.PREEMPTED  # the exit code by which a rank says: run me again
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)  # what a job is asked to be warned with
NOTICES = (signal.SIGTERM, *WARNINGS)


def is_notice(result: Result) -> bool:
    """Whether a run ended in a way that the scheduler may have to do with."""
    if result.state == "cancelled":
        return result.exit_code - 128 in NOTICES
    return result.state == "preempted" or lost_a_node(result) or was_signalled(result)


def after_notice(result: Result, job: Scheduled) -> RequeueDecision:
    """Whether a run that a scheduler wanted to end is requeued, by what became of its job.

    The signals of a cancellation look like those of a requeue, so the job's state decides: one that
    the user cancelled stays cancelled.
    """
    if job.requeued:
        reason = "SLURM has put the job back in the queue"
        return RequeueDecision("preempted", PREEMPTED, "already", reason)
    return _while_it_runs(result, job) if job.running else _after_its_end(result, job)


def _while_it_runs(result: Result, job: Scheduled) -> RequeueDecision:
    """A job that is only warned is requeued if its ranks have saved, or had hardly begun.

    Else it would be warned again without end.
    """
    if lost_a_node(result):
        if not job.requeueable:
            return RequeueDecision(result.state, result.exit_code)
        return RequeueDecision("preempted", PREEMPTED, "ask", "the job has lost a node")
    if job.preempting:
        return RequeueDecision("preempted", PREEMPTED, "ask", PREEMPTING)
    if result.state == "preempted" or had_hardly_begun(result):
        return RequeueDecision("preempted", PREEMPTED, "ask", "SLURM is about to end the job")
    if result.exit_code - 128 in WARNINGS and all(rank.exit_code == 0 for rank in result.ranks):
        return RequeueDecision("succeeded", 0, "no", "the run has ended well, just in time")
    reason = f"not all ranks ended with {PREEMPTED}, so the job is not put back in the queue"
    return RequeueDecision(result.state, result.exit_code, "no", reason)


def _after_its_end(result: Result, job: Scheduled) -> RequeueDecision:
    """A job that SLURM ends and has not put back is over, whatever its ranks have saved."""
    if lost_a_node(result):
        return RequeueDecision(result.state, result.exit_code)
    if job.preempting:
        reason = "SLURM has preempted the job for good; submitted again, it goes on from there"
        return RequeueDecision("preempted", PREEMPTED, "no", reason)
    if job.timed_out:
        reason = "the job's time limit ended it; submitted again, it goes on where it was saved"
        return RequeueDecision(result.state, result.exit_code, "no", reason)
    code = result.exit_code if result.state == "cancelled" else 128 + signal.SIGTERM
    return RequeueDecision("cancelled", code, "no", "the job was cancelled")


def had_hardly_begun(result: Result) -> bool:
    """Whether there were no ranks yet, or they died of a warning before they could know of it."""
    by_warning = (PREEMPTED, result.exit_code)
    return not result.ranks or (
        result.exit_code - 128 in WARNINGS
        and result.seconds < EARLY_S
        and all(rank.exit_code in by_warning for rank in result.ranks)
    )


def was_signalled(result: Result) -> bool:
    """Whether a rank died of a scheduler's signal before we could hear that it was one."""
    judged = result.verdict
    return judged is not None and judged.signal in {signal.Signals(n).name for n in NOTICES}


def lost_a_node(result: Result) -> bool:
    """Whether that is what the run failed of."""
    return result.verdict is not None and result.verdict.kind == "lost_node"
