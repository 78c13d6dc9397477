"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.callbacks.base import Callback
from engine.runtime.errors import MisconfigurationException


class LambdaCallback(Callback):
    """Calls functions as hooks: `LambdaCallback(on_train_start=lambda trainer, module: ...)`.

    Args:
        hooks: functions by the name of the hook that each is called as; with the hook's arguments.

    Raises:
        MisconfigurationException: there is no hook of that name.
    """

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        for name, function in hooks.items():
            if not callable(getattr(Callback, name, None)):
                raise MisconfigurationException(f"LambdaCallback: callbacks have no hook {name!r}")
            setattr(self, name, function)
