"""Profilers: how long a run's actions take. One member, one small file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engine.profilers.base import PassThroughProfiler, Profiler

if TYPE_CHECKING:
    from engine.profilers.advanced import AdvancedProfiler
    from engine.profilers.pytorch import PyTorchProfiler
    from engine.profilers.simple import SimpleProfiler

_MEMBERS = {
    "AdvancedProfiler": "engine.profilers.advanced",
    "PyTorchProfiler": "engine.profilers.pytorch",
    "SimpleProfiler": "engine.profilers.simple",
}

__all__ = [
    "AdvancedProfiler",
    "PassThroughProfiler",
    "Profiler",
    "PyTorchProfiler",
    "SimpleProfiler",
]


def __getattr__(name: str) -> Any:
    if name in _MEMBERS:
        return getattr(importlib.import_module(_MEMBERS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
