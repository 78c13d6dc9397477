"""What to do after an attempt has failed: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.job import Verdict


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
