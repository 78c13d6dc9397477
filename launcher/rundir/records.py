"""What a run's folder says, read with care: others may be able to write there.

What is no plain file, too large, no JSON or nested without end is not there; a field that holds
what we would not have written is left out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.core.protocol.shapes import DATA, wrong
from launcher.rundir import files
from launcher.rundir.events import ENDS

FOREVER = 1 << 33  # a moment that no clock shows, in unix time


def _moment(value: Any) -> bool:
    return not wrong(value, float) and 0 <= value < FOREVER


def _pid(value: Any) -> bool:
    return not wrong(value, int) and 0 < value < 1 << 31


def _count(value: Any) -> bool:
    return not wrong(value, int) and 0 <= value < 1 << 31


_JOB: dict[str, Any] = {
    "job_id": str,
    "program": str,
    "args": [str],
    "compat": (str, None),
    "nodes": DATA,
    "gpus": (str, None),
    "procs": (int, None),
    "max_restarts": _count,
    "grace_s": float,
    "env": [str],
    "started": _moment,
    "pid": _pid,
    "host": str,
    "slurm_job_id": (str, None),
}
_FAILURE = {"type": str, "message": str, "traceback": str, ...: DATA}
_VERDICT = {
    "kind": str,
    "rank": (_count, None),
    "node": str,
    "exit_code": int,
    "signal?": (str, None),
    "exception?": (_FAILURE, None),
    "last_lines?": [str],
    "victims?": [_count],
    "ranks?": [_count],
    "attempt?": _count,
    "step?": (int, None),
    "last_step?": (int, None),
    "stack?": str,
    "message?": str,
    ...: DATA,
}
_RANK = {"rank": _count, "node": str, "exit_code?": (int, None), ...: DATA}
_PAST = {
    "attempt": _count,
    "state": str,
    "kind?": (str, None),
    "rank?": (_count, None),
    "node?": (str, None),
    "step?": (int, None),
    ...: DATA,
}
_RESULT: dict[str, Any] = {
    "job_id": str,
    "state": frozenset(ENDS),
    "exit_code": int,
    "attempts": _count,
    "preemptions": _count,
    "world_size": _count,
    "seconds": float,
    "nodes": [{"name": str, ...: DATA}],
    "ranks": [_RANK],
    "verdict": (_VERDICT, None),
    "message": str,
    "run_dir": str,
    "history": [_PAST],
}


def read(path: str | Path, limit: int = files.JSON_BYTES) -> dict[str, Any] | None:
    """A JSON object from a file of at most ``limit`` bytes, or None."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        value = json.loads(files.read_whole(path, limit))
        return value if isinstance(value, dict) else None
    return None


def read_job(folder: str | Path) -> dict[str, Any] | None:
    """A folder's job.json: which run it is; None if there is none."""
    data = read(Path(folder, "job.json"))
    return None if data is None else _sane(data, _JOB)


def read_result(folder: str | Path) -> dict[str, Any] | None:
    """A folder's result.json; None if there is none, or no state in it that a run ends with."""
    data = read(Path(folder, "result.json"), files.RESULT_BYTES)
    found = None if data is None else _sane(data, _RESULT)
    return found if found is not None and "state" in found else None


def _sane(data: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: item for k, item in data.items() if k in fields and not wrong(item, fields[k])}
