"""One row of the table: a figure of ours, the peer's beside it, and the target that it has."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

Measure = Callable[[], float]
Rows = Callable[[], "Iterable[Row]"]  # measures when it is called


class BenchError(Exception):
    """A run that could not be measured: why."""


@dataclass(frozen=True)
class Row:
    """What was measured. ``peer`` and ``ours`` are all samples; the table shows their medians.

    ``unit`` is ``s``, ``MiB`` or ``x`` (a factor). ``met`` is None where there is nothing to judge.
    """

    key: str
    what: str
    target: str
    unit: str = "s"
    peer_name: str = ""
    peer: tuple[float, ...] = ()
    peer_text: str = ""
    our_name: str = "plaunch"
    ours: tuple[float, ...] = ()
    ratio: float | None = None
    met: bool | None = None
    note: str = ""

    def as_data(self) -> dict[str, Any]:
        """The row as JSON data, with the medians beside the samples."""
        medians = {"peer_median": median(self.peer), "our_median": median(self.ours)}
        return {**asdict(self), **medians}


def median(samples: Sequence[float]) -> float | None:
    """The median, or None where there are no samples."""
    return statistics.median(samples) if samples else None


def faster(row: Row, at_least: float) -> Row:
    """Judge ``peer / ours``."""
    return _judged(row, _ratio(row.peer, row.ours), lambda ratio: ratio >= at_least)


def smaller(row: Row, at_most: float) -> Row:
    """Judge ``ours / peer``."""
    return _judged(row, _ratio(row.ours, row.peer), lambda ratio: ratio <= at_most)


def below(row: Row, limit: float) -> Row:
    """Judge our figure itself; the ratio ``peer / ours`` is for information."""
    ours = median(row.ours)
    judged = _judged(row, _ratio(row.peer, row.ours), lambda _: True)
    return replace(judged, met=None if ours is None else ours <= limit)


def within(row: Row, more: float) -> Row:
    """Judge how much more ours is than the peer's; the ratio is for information."""
    ours, peer = median(row.ours), median(row.peer)
    judged = _judged(row, _ratio(row.peer, row.ours), lambda _: True)
    return replace(judged, met=None if ours is None or peer is None else ours - peer <= more)


def _ratio(above: Sequence[float], under: Sequence[float]) -> float | None:
    top, bottom = median(above), median(under)
    return None if top is None or not bottom else top / bottom


def _judged(row: Row, ratio: float | None, good: Callable[[float], bool]) -> Row:
    return replace(row, ratio=ratio, met=None if ratio is None else good(ratio))


def alternate(repeats: int, *measures: Measure) -> list[tuple[float, ...]]:
    """Run the measures in turn, again and again, so that all see the same weather.

    With more than one repetition, one round before them is not counted: it fills the disk's cache.
    """
    samples: list[list[float]] = [[] for _ in measures]
    for round_number in range(repeats if repeats == 1 else repeats + 1):
        for kept, measure in zip(samples, measures, strict=True):
            value = measure()
            if repeats == 1 or round_number > 0:
                kept.append(value)
    return [tuple(kept) for kept in samples]
