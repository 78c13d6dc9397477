"""Packages beside Lightning's, of which programs take one thing."""

from __future__ import annotations

BOLTS: dict[str, dict[str, str]] = {
    "": {},
    "callbacks": {"engine.callbacks": "PrintTableMetricsCallback"},
    "callbacks.printing": {"engine.callbacks": "PrintTableMetricsCallback"},
}
