"""The base of metrics, where torchmetrics is installed."""

from __future__ import annotations

from typing import Any

from engine.compat.metrics.torchmetrics import from_torchmetrics


def __getattr__(name: str) -> Any:
    return from_torchmetrics("torchmetrics", name, name)
