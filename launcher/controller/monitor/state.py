"""What is known of an attempt while it runs, and after it: data, which the monitor fills in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from launcher.controller import verdict


@dataclass
class AttemptState:
    """An attempt as the controller knows it; mappings are by rank."""

    records: dict[int, verdict.Record]
    attempt: int
    lost: list[verdict.LostNode] = field(default_factory=list)
    values: dict[int, Any] = field(default_factory=dict)
    reported_by: dict[int, str] = field(default_factory=dict)
    metrics: dict[int, Any] = field(default_factory=dict)  # what the engine reported by itself
    phases: dict[int, str] = field(default_factory=dict)  # as far as the rank has reported one
    # "loss is nan", by rank and by who has reported it
    not_finite: dict[tuple[int, str], str] = field(default_factory=dict)
    checkpoint: str | None = None
    asked_to_end: int | None = None  # the first signal that we were sent
    timed_out: bool = False
    signalled_too_late: bool = False  # when the ranks were ending for a failure already
    _num_signs: int = 0  # of trouble, so far

    @property
    def exit_codes(self) -> list[int | None]:
        """By rank: exit code or minus the signal; None where nobody knows."""
        return [self.records[rank].status for rank in sorted(self.records)]

    def note(self, rank: int, **news: Any) -> None:
        """Add to what is known of a rank."""
        self.records[rank] = replace(self.records[rank], **news)

    def note_trouble(self, rank: int) -> None:
        """A rank has failed: the order of first signs tells causes from victims."""
        if self.records[rank].order == 1 << 30:
            self._num_signs += 1
            self.note(rank, order=self._num_signs)

    def note_lost(self, node: str, reason: str) -> None:
        """A node's agent can't be heard any more."""
        self._num_signs += 1
        self.lost.append(verdict.LostNode(node, reason, self._num_signs))
