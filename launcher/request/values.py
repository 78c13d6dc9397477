"""Options' values: from what is typed, and from the keywords of ``launch()``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.core.errors import UsageError
from launcher.core.job import RunOptions
from launcher.core.options import OPTIONS, Kind
from launcher.request.request import MAX_PROCS


def from_command_line(typed: Mapping[str, Any], ours: Mapping[str, str]) -> RunOptions:
    """The options as argparse has them, by name; ``ours`` are our variables. Raises UsageError."""
    values = {name: typed[name] for name in OPTIONS if typed[name] is not None}
    for name, value in values.items():
        kind = OPTIONS[name].kind
        if kind == "ranks":
            values[name] = num_procs(value)
        elif kind == "variables":
            values[name] = parse_env(value, ours)
        elif kind == "texts":
            values[name] = tuple(value)
    # A job that SLURM has started again goes on, whatever its script was told at first.
    values["restart"] = values["restart"] and not is_requeued(ours)
    return RunOptions(**values)


def is_requeued(environ: Mapping[str, str]) -> bool:
    """Whether SLURM has started this job again: it must not begin anew then."""
    return environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def num_procs(text: str | None) -> int | None:
    """``--procs``, or torchrun's words for --nproc-per-node. Raises UsageError."""
    if text is None or text in ("gpu", "auto"):
        return None
    if text == "cpu":
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PROCS):
        raise UsageError(f"--procs {text or repr(text)}: a number from 1 to {MAX_PROCS} is needed")
    return int(text)


def parse_env(entries: Sequence[str], ours: Mapping[str, str]) -> dict[str, str]:
    """``NAME=VALUE`` and ``NAME`` (takes our value). Raises UsageError."""
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UsageError(f"--env {name!r} is no name of a variable; write --env NAME=VALUE")
        if not equals and name not in ours:
            raise UsageError(
                f"--env {name}: it is not set here; set it or write --env {name}=VALUE"
            )
        found[name] = value if equals else ours[name]
    return found


def from_keywords(given: Mapping[str, Any]) -> RunOptions:
    """The options as keywords of ``launch()`` have them. Raises UsageError."""
    for name, value in given.items():
        kind = OPTIONS[name].kind
        if kind in ("count", "number", "ranks") and not _is_whole(value):
            raise UsageError(f"{name}: a whole number is needed, not {value!r}")
        if kind == "seconds" and not _is_duration(value):
            raise UsageError(f"{name}: a number of seconds is needed, not {value!r}")
    return RunOptions(
        **{
            name: _OF_PYTHON.get(OPTIONS[name].kind, _as_is)(value)
            for name, value in given.items()
            if value is not None  # not given: the default
        }
    )


def _is_whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_duration(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and 0 <= value < math.inf)


def _as_is(value: Any) -> Any:
    return value


def _as_range(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _as_texts(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


_OF_PYTHON: dict[Kind, Callable[[Any], Any]] = {
    "text": str,  # a number of GPUs or of minutes, a path
    "nodes": _as_range,
    "texts": _as_texts,
    "variables": dict,
}
