"""What ranks report: values, metrics, how far they are. Kept within bounds, whatever comes.

What a report says of a failure is not looked at here, but in monitor.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from launcher.controller.monitor.state import AttemptState
from launcher.rundir.rundir import RunDir, clean

if TYPE_CHECKING:
    from launcher.core.protocol.messages import RankProgress, RankReport

STEP_EVERY_S = 10.0  # between two notes of how far the run is, for `plaunch status`
CHECKPOINTS = 1000  # noted each; of more, one every STEP_EVERY_S
ALL_REPORTS = 64 << 20  # bytes of JSON that the ranks may have reported, all together


class Values:
    """Puts reported values into ``state``. ``complain`` takes a line for people."""

    def __init__(self, state: AttemptState, complain: Callable[[str], None]) -> None:
        self._state, self._complain = state, complain
        self._sizes: dict[tuple[int, str], int] = {}  # of what ranks have reported, as JSON
        self._total = 0
        self._has_complained = False

    def report(self, message: RankReport) -> None:
        """What the program reports itself counts more than what the engine reports for it."""
        state, rank, by = self._state, message["rank"], message.get("by", "user")
        state.not_finite[rank, by] = not_finite(message)
        if by == "engine" and isinstance(message["value"], dict):
            state.metrics[rank] = self._bounded(rank, "metrics", message["value"])
        if by != "engine" or state.reported_by.get(rank, "engine") == "engine":
            state.values[rank] = self._bounded(rank, "value", message["value"])
            state.reported_by[rank] = by

    def _bounded(self, rank: int, name: str, value: Any) -> Any:
        """The value, or None where all that is reported is too large with it."""
        cleaned, size_before = clean(value), self._sizes.pop((rank, name), 0)
        size = len(json.dumps(cleaned))
        self._total += size - size_before
        if self._total <= ALL_REPORTS:
            self._sizes[rank, name] = size
            return cleaned
        self._total -= size
        if not self._has_complained:
            self._has_complained = True
            self._complain(
                f"what rank {rank} reported is left out: all reports together may have "
                f"{ALL_REPORTS >> 20} MiB; save them to files and report the paths"
            )
        return None


class Progress:
    """Puts steps and checkpoints into ``state``, and at a bounded rate into the run's events."""

    def __init__(self, state: AttemptState, rundir: RunDir) -> None:
        self._state, self._rundir = state, rundir
        self._next_note = 0.0
        self._num_checkpoints = 0

    def report(self, message: RankProgress, now: float) -> None:
        """A rank is at this step, or has written this checkpoint."""
        state, rank = self._state, message["rank"]
        step, checkpoint = message.get("step"), message.get("checkpoint")
        if isinstance(step, int):
            state.note(rank, step=step, failed_at=step if message.get("failed") else None)
        is_new = isinstance(checkpoint, str) and checkpoint != state.checkpoint
        if is_new and (self._num_checkpoints < CHECKPOINTS or now >= self._next_note):
            self._num_checkpoints += 1
            self._next_note = now + STEP_EVERY_S
            state.checkpoint = checkpoint
            self._rundir.event("checkpoint", path=checkpoint, step=step)
        elif is_new:
            state.checkpoint = checkpoint
        elif isinstance(step, int) and now >= self._next_note:
            self._next_note = now + STEP_EVERY_S
            self._rundir.event("step", step=step)


def not_finite(message: Mapping[str, Any]) -> str:
    """What of a reported value was no number, in words: ``loss is nan``. JSON has none for it."""
    texts = message.get("not_finite")
    if not isinstance(texts, Mapping):
        return ""
    whole = [name for name in texts if not _is_part(name, texts)]
    return ", ".join(f"{name} is {texts[name]}" for name in whole[:5])


def _is_part(name: str, names: Mapping[str, Any]) -> bool:
    """Whether it is the value of a step or an epoch beside one under the bare name."""
    base, _, kind = name.rpartition("_")
    return kind in ("step", "epoch") and base in names
