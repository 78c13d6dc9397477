"""Callbacks: `base.Callback` and one small file a member, imported when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engine.callbacks.base import Callback

if TYPE_CHECKING:
    from engine.callbacks.early_stopping import EarlyStopping
    from engine.callbacks.lr_monitor import LearningRateLogger, LearningRateMonitor
    from engine.callbacks.model_checkpoint import ModelCheckpoint
    from engine.callbacks.print_table import PrintTableMetricsCallback
    from engine.callbacks.progress import ProgressBar, RichProgressBar, TQDMProgressBar
    from engine.callbacks.summary import ModelSummary, RichModelSummary

_MEMBERS = {
    "EarlyStopping": "engine.callbacks.early_stopping",
    "LearningRateLogger": "engine.callbacks.lr_monitor",
    "LearningRateMonitor": "engine.callbacks.lr_monitor",
    "ModelCheckpoint": "engine.callbacks.model_checkpoint",
    "ModelSummary": "engine.callbacks.summary",
    "PrintTableMetricsCallback": "engine.callbacks.print_table",
    "ProgressBar": "engine.callbacks.progress",
    "RichModelSummary": "engine.callbacks.summary",
    "RichProgressBar": "engine.callbacks.progress",
    "TQDMProgressBar": "engine.callbacks.progress",
}

__all__ = [
    "Callback",
    "EarlyStopping",
    "LearningRateLogger",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "PrintTableMetricsCallback",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "TQDMProgressBar",
]


def __getattr__(name: str) -> Any:
    if name in _MEMBERS:
        return getattr(importlib.import_module(_MEMBERS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
