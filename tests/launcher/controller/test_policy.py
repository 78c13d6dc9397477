"""Restart, or stop and say why: pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.controller.policy import (
    Attempt,
    Decision,
    Scheduled,
    after_failure,
    after_notice,
    is_notice,
)
from launcher.core.job import Failure, RankResult, Result, Verdict

SAME = Verdict("exception", 0, "n", 1, exception=Failure("E", "m", "trace"))
OTHER = Verdict("exception", 0, "n", 1, exception=Failure("E", "another", "trace"))
KILLED = Verdict("signal", 0, "n", 137, signal="SIGKILL")
LOST = Verdict("lost_node", None, "n", 1, message="cut")
START = Verdict("start", 0, "n", 127, message="no such program")
TWICE = "the same failure came twice with no new checkpoint between"


@pytest.mark.parametrize(
    ("history", "budget", "expected"),
    [
        ([Attempt(SAME)], 0, Decision(False, "")),
        ([Attempt(SAME)], 2, Decision(True, "restart 1 of 2")),
        ([Attempt(SAME), Attempt(OTHER)], 2, Decision(True, "restart 2 of 2")),
        ([Attempt(SAME), Attempt(OTHER)], 1, Decision(False, "all 1 restarts are used up")),
        ([Attempt(SAME), Attempt(SAME)], 5, Decision(False, TWICE)),
        ([Attempt(START), Attempt(START)], 5, Decision(False, TWICE)),
        ([Attempt(SAME, "a"), Attempt(SAME, "a")], 5, Decision(False, TWICE)),
        ([Attempt(SAME, "a"), Attempt(SAME, "b")], 5, Decision(True, "restart 2 of 5")),
        ([Attempt(SAME), Attempt(OTHER), Attempt(SAME)], 5, Decision(True, "restart 3 of 5")),
        ([Attempt(KILLED), Attempt(KILLED)], 5, Decision(True, "restart 2 of 5")),
        ([Attempt(LOST), Attempt(LOST)], 5, Decision(True, "restart 2 of 5")),
        ([Attempt(SAME), Attempt(KILLED)], 5, Decision(True, "restart 2 of 5")),
    ],
)
def test_decisions(history: list[Attempt], budget: int, expected: Decision) -> None:
    """A budget, and a guard against the very same failure without progress."""
    assert after_failure(history, budget) == expected


def ended(state: str, code: int, verdict: Verdict | None = None, *, ranks: bool = True) -> Result:
    rank = (RankResult(0, 0, "n", code),) if ranks else ()
    return Result("id", state, code, 1, 0, 1, 1.0, (), rank, verdict, "/run")  # type: ignore[arg-type]  # a word of State


SAVED, KILLED_BY_TERM = ended("preempted", 75), ended("cancelled", 143)
FINISHED = replace(ended("cancelled", 140), ranks=(RankResult(0, 0, "n", 0),))
NEVER_BEGAN = ended("cancelled", 140, ranks=False)
NODE_LOST = ended("failed", 1, LOST)
SIGNALLED = ended("failed", 143, Verdict("signal", 0, "n", 143, signal="SIGTERM"))
RUNS, OVER = Scheduled(), Scheduled(running=False)


@pytest.mark.parametrize(
    ("result", "job", "state", "code", "requeue"),
    [
        # warned: it comes back if all have saved, or nothing had begun
        (SAVED, RUNS, "preempted", 75, "ask"),
        (NEVER_BEGAN, RUNS, "preempted", 75, "ask"),
        (KILLED_BY_TERM, RUNS, "cancelled", 143, "no"),
        (FINISHED, RUNS, "succeeded", 0, "no"),
        (ended("cancelled", 140), RUNS, "preempted", 75, "ask"),  # while it was starting
        (replace(ended("cancelled", 140), seconds=600.0), RUNS, "cancelled", 140, "no"),
        # preempted: it comes back, saved or not
        (SAVED, Scheduled(preempting=True), "preempted", 75, "ask"),
        (KILLED_BY_TERM, Scheduled(preempting=True), "preempted", 75, "ask"),
        (SAVED, Scheduled(running=False, preempting=True), "preempted", 75, "no"),
        # SLURM has put it back by itself
        (SAVED, Scheduled(running=False, requeued=True), "preempted", 75, "already"),
        (KILLED_BY_TERM, Scheduled(running=False, requeued=True), "preempted", 75, "already"),
        (NODE_LOST, Scheduled(running=False, requeued=True), "preempted", 75, "already"),
        # cancelled by the user: it stays so, even if the ranks have saved
        (SAVED, OVER, "cancelled", 143, "no"),
        (KILLED_BY_TERM, OVER, "cancelled", 143, "no"),
        (SIGNALLED, OVER, "cancelled", 143, "no"),
        (SIGNALLED, Scheduled(preempting=True), "preempted", 75, "ask"),
        (SIGNALLED, RUNS, "failed", 143, "no"),
        # the time limit, without a warning
        (SAVED, Scheduled(running=False, timed_out=True), "preempted", 75, "no"),
        (KILLED_BY_TERM, Scheduled(running=False, timed_out=True), "cancelled", 143, "no"),
        # a node is lost, and SLURM may not even know yet
        (NODE_LOST, RUNS, "preempted", 75, "ask"),
        (NODE_LOST, Scheduled(requeueable=False), "failed", 1, "no"),
        (NODE_LOST, OVER, "failed", 1, "no"),
    ],
)
def test_a_job_comes_back_unless_somebody_wants_it_gone(
    result: Result, job: Scheduled, state: str, code: int, requeue: str
) -> None:
    """The job's state decides what a signal meant; never is an end called a success."""
    found = after_notice(result, job)

    assert (found.state, found.exit_code, found.requeue) == (state, code, requeue)


@pytest.mark.parametrize(
    ("result", "asked"),
    [
        (SAVED, True),
        (KILLED_BY_TERM, True),
        (NEVER_BEGAN, True),
        (NODE_LOST, True),
        (SIGNALLED, True),
        (ended("cancelled", 130), False),
        (ended("failed", 1, SAME), False),
        (ended("succeeded", 0), False),
    ],
)
def test_the_scheduler_is_asked_only_about_ends_that_may_be_its_doing(
    result: Result, asked: bool
) -> None:
    """Ctrl-C, a failure and a success are what they are."""
    assert is_notice(result) is asked
