"""Restart, or stop and say why: pure decisions."""

from __future__ import annotations

import pytest

from launcher.job import Failure, Verdict
from launcher.policy import Attempt, Decision, after_failure

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
