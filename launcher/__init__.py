"""plaunch: starts training on every node, follows it, and says what failed and why.

The public names are loaded when they are first used: a rank that only reports needs none of the
launcher.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.api import launch, submit
    from launcher.batch.handle import Handle, JobFailed
    from launcher.core.job import Job, Result
    from launcher.report import report

__all__ = ["Handle", "Job", "JobFailed", "Result", "launch", "report", "submit"]

_HOMES = {
    "Handle": "launcher.batch.handle",
    "Job": "launcher.core.job",
    "JobFailed": "launcher.batch.handle",
    "Result": "launcher.core.job",
    "launch": "launcher.api",
    "report": "launcher.report",
    "submit": "launcher.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'launcher' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
