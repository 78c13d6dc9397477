"""Values that hooks of 1.0 to 1.2 returned to have them logged and monitored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from engine.runtime.distributed.world import rank_zero_warn

PARTS = ("log", "progress_bar")
MONITORED = ("checkpoint_on", "early_stop_on")  # what callbacks looked at that were told nothing


def log_returned(module: Any, hook: str, returned: Any) -> bool:
    """Log the numbers in what `hook` returned; whether it was of a kind that was logged.

    Those in `log` go to loggers, those in `progress_bar` to the bar, and callbacks can monitor all
    that an epoch's end returned. One number alone is `val_loss`.
    """
    values: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {name: {} for name in PARTS}
    for one in returned if isinstance(returned, (list, tuple)) else [returned]:
        given: Any = {"val_loss": one} if isinstance(one, torch.Tensor) else one
        if not isinstance(given, Mapping):
            return False
        for name in PARTS:
            parts[name].update(given.get(name) or {})
        values.update({} if hook == "training_step" else given)
    values.update(parts["log"] | parts["progress_bar"])
    _say(hook)
    for name in MONITORED if "val_loss" in values else ():
        values.setdefault(name, values["val_loss"])
    for name, value in values.items():
        if is_number(value):
            shown, kept = name in parts["progress_bar"], name in parts["log"]
            module.log(name, value, prog_bar=shown, logger=kept)
    return True


def is_number(value: Any) -> bool:
    """Whether this is one number."""
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@cache
def _say(hook: str) -> None:
    rank_zero_warn(
        f"{hook} returned values to be logged, as in 1.0 to 1.2: they are, but use self.log"
    )
