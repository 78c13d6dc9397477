"""The earlier attempts of a run, as its folder remembers them in events.jsonl."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from launcher.core.job import PastAttempt
from launcher.rundir import files

LINE_BYTES = 1 << 20  # of one event
PART_BYTES = 16 << 20  # of a file of events that is far too large, at its beginning and its end
_NUMBERS = ("time", "attempt", "world_size", "step", "rank", "status")
_WORDS = ("event", "kind", "node", "path", "problem", "signal", "reason")
ENDS = ("succeeded", "failed", "preempted", "cancelled")
TELLING = ("attempt", *ENDS)  # the events that tell what became of attempts
_DETAILS = [field.name for field in fields(PastAttempt) if field.name not in ("attempt", "state")]


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events that were written whole; a line that a kill has cut short is none.

    Of a file that is far too large, its first and last parts. Whoever can write the folder may have
    written there, so that a field of the wrong kind is left out.
    """
    try:
        data = _both_ends(path)
    except FileNotFoundError:
        return []
    events = []
    for line in data.splitlines(keepends=True):
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(line) if line.endswith(b"\n") and len(line) < LINE_BYTES else None
            if isinstance(event, dict):
                events.append({key: item for key, item in event.items() if _is_sane(key, item)})
    return events


def _both_ends(path: Path) -> bytes:
    with files.open_to_read(path) as fd:
        size = os.fstat(fd).st_size
        if size <= 2 * PART_BYTES:
            return os.pread(fd, 2 * PART_BYTES, 0)
        return os.pread(fd, PART_BYTES, 0) + b"\n" + os.pread(fd, PART_BYTES, size - PART_BYTES)


def _is_sane(key: str, item: Any) -> bool:
    """Whether a field of an event holds what we would have written there."""
    if key in _NUMBERS:
        return item is None or (isinstance(item, (int, float)) and abs(item) < 1 << 63)
    if key in _WORDS:
        return item is None or isinstance(item, str)
    return True


def drop_cut_line(path: Path) -> None:
    """Remove a last line without its end, so that the next event has a line of its own."""
    with contextlib.suppress(FileNotFoundError):
        fd = files.open_own(path, os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            start = max(0, size - LINE_BYTES)
            last = os.pread(fd, LINE_BYTES, start)
            if last and not last.endswith(b"\n"):
                os.ftruncate(fd, start + last.rfind(b"\n") + 1)
        finally:
            os.close(fd)


def former_attempts(events: Iterable[Mapping[str, Any]]) -> tuple[PastAttempt, ...]:
    """What became of each attempt, in the order of their starts.

    An attempt whose end nobody wrote down is "unknown": the launcher itself was killed.
    """
    attempts: list[PastAttempt] = []
    for event in events:
        name = event.get("event")
        if name == "attempt":
            attempts.append(PastAttempt(len(attempts) + 1))
        elif name in ENDS and attempts:
            details = {key: event[key] for key in _DETAILS if key in event}
            attempts[-1] = replace(attempts[-1], state=name, **details)
    return tuple(attempts)


def preemptions(history: Sequence[PastAttempt]) -> int:
    """How many of the attempts ended by preemption."""
    return sum(past.state == "preempted" for past in history)
