"""Metrics by the names of Lightning 1.0 to 1.4: functions in `functional`, classes here.

`accuracy` needs nothing else; all further functions, and the classes, are those of torchmetrics.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from engine.compat.metrics.torchmetrics import CLASSES, from_torchmetrics, with_task


def __getattr__(name: str) -> Any:
    if name == "functional":
        return importlib.import_module("engine.compat.metrics.functional")
    if name == "Accuracy":
        from_torchmetrics("torchmetrics", "Metric", name)  # says what to install
        return importlib.import_module("engine.compat.metrics.accuracy").Accuracy
    found = from_torchmetrics("torchmetrics", CLASSES.get(name, name), name)
    return _without_task(found) if "task" in with_task(found) else found


def _without_task(metric: Callable[..., Any]) -> Callable[..., Any]:
    """A classification metric that may be made as in 1.x, where its task was not asked for."""

    def make(
        num_classes: int | str | None = None, *, compute_on_step: bool | None = None, **options: Any
    ) -> Any:
        del compute_on_step  # it had no meaning any more in 1.5
        if isinstance(num_classes, str):  # the task comes first today
            return metric(num_classes, **options)
        if "task" in options:
            return metric(num_classes=num_classes, **options)
        if num_classes in (None, 1):
            return metric(task="binary", **options)
        if "average" in with_task(metric):
            options.setdefault("average", "micro")
        return metric(task="multiclass", num_classes=num_classes, **options)

    make.__name__ = getattr(metric, "__name__", "metric")
    make.__doc__ = metric.__doc__
    return make
