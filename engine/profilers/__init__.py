"""Profilers: how long a run's actions take. One member, one small file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.profilers.base import PassThroughProfiler, Profiler
from engine.runtime.lazy import on_demand

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

__getattr__ = on_demand(__name__, _MEMBERS)
