"""Which of the scored things are the best k: pure, and kept across a resume."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from engine.runtime.errors import ArgumentError

MODES = ("min", "max")


def mode_of(mode: str, monitor: str | None) -> str:
    """What 1.0's mode "auto" comes to, by the name of the metric; any other mode as it is."""
    if mode != "auto":
        return mode
    name = monitor or ""
    return "max" if "acc" in name or name.startswith("fmeasure") else "min"


def check_mode(mode: str) -> None:
    """Raise ArgumentError where `mode` is neither "min" nor "max"."""
    if mode not in MODES:
        raise ArgumentError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")


class TopK:
    """Remembers the k best names by score; k = -1 keeps all of them. NaN is never good enough."""

    def __init__(self, k: int, mode: str = "min") -> None:
        check_mode(mode)
        self.k = k
        self.mode = mode
        self.scores: dict[str, float] = {}

    def better(self, score: float, other: float) -> bool:
        """Whether `score` beats `other`; equal does not, so that the earlier one stays."""
        return score < other if self.mode == "min" else score > other

    def accepts(self, score: float) -> bool:
        """Whether a thing with this score belongs to the best k."""
        if math.isnan(score) or self.k == 0:
            return False
        if self.k < 0 or len(self.scores) < self.k:
            return True
        worst = self.worst
        return worst is not None and self.better(score, self.scores[worst])

    def add(self, name: str, score: float) -> list[str]:
        """Take an accepted one in; returns the names that fell out."""
        self.scores.pop(name, None)
        self.scores[name] = score
        fallen = []
        while self.k >= 0 and len(self.scores) > self.k and self.worst is not None:
            fallen.append(self.worst)
            del self.scores[fallen[-1]]
        return fallen

    def forget(self, names: Iterable[str]) -> None:
        """Leave out what is no longer there."""
        for name in names:
            self.scores.pop(name, None)

    def without(self, names: Iterable[str]) -> TopK:
        """A copy that does not count these names."""
        copy = TopK(self.k, self.mode)
        copy.scores = dict(self.scores)
        copy.forget(names)
        return copy

    def load(self, scores: Mapping[str, float]) -> None:
        """Go on from the scores of an earlier run: from its best k, if it kept more."""
        self.scores = dict(scores)
        if self.k >= 0:
            self.forget(self._from_best_to_worst()[self.k :])

    @property
    def best(self) -> str | None:
        """The best name: the earliest among equals."""
        ordered = self._from_best_to_worst()
        return ordered[0] if ordered else None

    @property
    def worst(self) -> str | None:
        """The name that falls out next: the latest among equals."""
        ordered = self._from_best_to_worst()
        return ordered[-1] if ordered else None

    def _from_best_to_worst(self) -> list[str]:
        sign = 1 if self.mode == "min" else -1
        return sorted(self.scores, key=lambda name: sign * self.scores[name])
