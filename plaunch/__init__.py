"""The command's own name, and the public names of the launcher under it.

A program may have a ``launcher`` of its own; hardly one has a ``plaunch``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher import Handle, Job, JobFailed, Result, launch, report, submit

__all__ = ["Handle", "Job", "JobFailed", "Result", "launch", "report", "submit"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'plaunch' has no attribute {name!r}")
    import launcher

    return getattr(launcher, name)
