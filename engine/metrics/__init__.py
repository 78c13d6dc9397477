"""`engine.metrics`: the metrics of Lightning 1.0 to 1.4, which are in `engine.compat.metrics`."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "functional":
        return importlib.import_module("engine.metrics.functional")
    return getattr(importlib.import_module("engine.compat.metrics"), name)
