"""A rank's side of the result: ``report(value)`` from any script, a no-op without plaunch."""

from __future__ import annotations

import json
import math
import os
import socket
from typing import Any

MAX_BYTES = 16 << 20
MAX_DEPTH = 100
MAX_VALUES = 100_000
LARGEST = 10**1000


class ReportError(ValueError):
    """The value can't be a result: where in it the fault lies, and what to report instead."""


def report(value: Any) -> None:
    """Set this rank's value in the run's result, replacing what was set before.

    It needs nothing of plaunch, which may be absent: then nothing happens beside the check.

    Example:
        In a script that ``plaunch`` or ``launch()`` runs::

            report({"accuracy": 0.93, "epochs": 4})

    Args:
        value: JSON data: dicts with text keys, lists, text, numbers, booleans, None; at most 16 MiB
            and 100,000 values, nested at most 100 deep. NaN and infinities become None.

    Raises:
        ReportError: The value is none of this: where in it the fault lies, and what to do.
        OSError: The node's agent has gone.
    """
    if _count(value, MAX_VALUES) > MAX_VALUES:
        raise ReportError(
            f"a report of more than {MAX_VALUES} values is too large: save it to a file and report "
            "the path"
        )
    data = _checked(value, "value", 0)
    path = os.environ.get("PLAUNCH_SOCKET")
    odd = dict(_not_finite(value))
    message = {"type": "report", "by": "user", "value": data, "not_finite": odd}
    body = json.dumps(message).encode("ascii")
    if len(body) > MAX_BYTES:
        raise ReportError(
            f"a report of {len(body) >> 20} MiB is too large (16 MiB at most): save it to a file "
            "and report the path"
        )
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(path)
        line.sendall(len(body).to_bytes(4, "big") + body)


def _count(value: Any, most: int) -> int:
    """How many values there are in it; more than ``most`` are not counted."""
    count, pending = 0, [value]
    while pending and count <= most:
        one = pending.pop()
        count += 1
        if isinstance(one, dict):
            pending += one.values()
        elif isinstance(one, (list, tuple)):
            pending += one
    return count


def _not_finite(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Where in a value there are numbers that become None, and which."""
    if isinstance(value, dict):
        parts = [(f"{name}.{key}" if name else key, item) for key, item in value.items()]
        return [found for key, item in parts for found in _not_finite(item, key)]
    if isinstance(value, float) and not math.isfinite(value):
        return [(name or "the value", repr(value))]
    return []


def _checked(value: Any, where: str, depth: int) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= LARGEST:
        raise ReportError(f"{where} is a number of more than 1000 digits: report it as text")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (dict, list, tuple)) and depth >= MAX_DEPTH:
        raise ReportError(f"value is nested more than {MAX_DEPTH} deep: save it to a file")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ReportError(f"{where} has the key {key!r}: keys must be text")
        return {key: _checked(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise ReportError(
        f"{where} is a {type(value).__name__}, which is no JSON data: report numbers, text, lists "
        "and dicts (for a tensor, its .item() or .tolist())"
    )
