"""Hooks that a callback has only with some settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.callbacks.base import Callback


def attach(callback: Callback, hook: str, method: Callable[..., Any]) -> None:
    """Make `method` the hook of this one callback; a hook of the user's subclass stays.

    Hooks that nobody overrides are never called, so without it a batch costs nothing.
    """
    if getattr(type(callback), hook) is getattr(Callback, hook):
        setattr(callback, hook, method)
