"""Looking at a metric: is it there, and does it belong to the state that we have now?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def is_fresh(trainer: Any, name: str) -> bool:
    """Whether the metric was computed from the present weights, and not at an earlier step."""
    return bool(trainer.metric_step(name) == trainer.global_step)


def values_of_state(trainer: Any, names: Iterable[str]) -> dict[str, float]:
    """The present state's values among `names`, as plain numbers, with epoch and step."""
    metrics = trainer.callback_metrics
    values = {
        name: float(metrics[name]) for name in names if name in metrics and is_fresh(trainer, name)
    }
    return {**values, "epoch": trainer.current_epoch, "step": trainer.global_step}


def missing_metric(who: str, monitor: str, metrics: Mapping[str, Any]) -> str:
    """The message for a metric that nobody logged: it says what was, and what is alike."""
    logged = ", ".join(sorted(metrics)) or "nothing"
    close = difflib.get_close_matches(monitor, list(metrics), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Call self.log({monitor!r}, value)."
    return f"{who} monitors {monitor!r}, which was not logged; logged were: {logged}.{hint}"


def validates_once_an_epoch_or_never(trainer: Any) -> bool:
    """Whether the end of a training epoch is also the moment when all its metrics are there."""
    if not trainer.num_val_batches:
        return True
    return bool(trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0)
