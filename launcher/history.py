"""The earlier attempts of a run, as its folder remembers them in events.jsonl."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from launcher.job import PastAttempt
from launcher.regular import read_regular

ENDS = ("succeeded", "failed", "preempted", "cancelled")
TELLING = ("attempt", *ENDS)  # the events that tell what became of attempts
_DETAILS = [field.name for field in fields(PastAttempt) if field.name not in ("attempt", "state")]


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events that were written whole; a line that a kill has cut short is none."""
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return []
    events = []
    for line in data.splitlines(keepends=True):
        with contextlib.suppress(ValueError):
            event = json.loads(line) if line.endswith(b"\n") else None
            if isinstance(event, dict):
                events.append(event)
    return events


def drop_cut_line(path: Path) -> None:
    """Remove a last line without its end, so that the next event has a line of its own."""
    with contextlib.suppress(FileNotFoundError):
        data = read_regular(path)
        if data and not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)


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
