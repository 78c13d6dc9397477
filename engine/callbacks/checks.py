"""Looking at a metric: is it there, and does it belong to the state that we have now?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.runtime.data.types import Metrics
    from engine.trainer.trainer import Trainer


def needs_logger(callback: object, trainer: Trainer) -> None:
    """Raise where a callback that only logs has no logger; a fast_dev_run keeps nothing anyway."""
    if not trainer.loggers and not trainer.fast_dev_run:
        raise MisconfigurationException(
            f"{type(callback).__name__} logs, and the Trainer has no logger: leave out the "
            "callback, or logger=False"
        )


class Freshness:
    """Knows at which step each of some metrics got the value that it has.

    Whoever logs anew puts a new object in the place of the old one, so looking after each
    validation, each epoch, before the step that asks and in it is enough: nothing has to be noted
    step by step.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self._values: dict[str, Any] = {}
        self._steps: dict[str, int] = {}

    def forget(self) -> None:
        """Begin anew: steps are counted from the start again."""
        self._values.clear()
        self._steps.clear()

    @property
    def never_seen(self) -> set[str]:
        """The metrics that have had no value since the beginning, or since ``forget``."""
        return self.names - set(self._steps) - {"epoch", "step"}

    def update(self, metrics: Metrics, step: int) -> None:
        """Note which values are new."""
        for name in self.names:
            value = metrics.get(name)
            if value is not None and value is not self._values.get(name):
                self._values[name] = value
                self._steps[name] = step

    def values(self, step: int) -> dict[str, float]:
        """The values that were computed at `step`, as plain numbers."""
        fresh = [name for name in self.names if self._steps.get(name) == step]
        return {name: float(self._values[name]) for name in fresh}


def missing_metric(who: str, monitor: str, metrics: Metrics, does: str = "monitors") -> str:
    """The message for a metric that nobody logged: it says what was, and what is alike."""
    logged = ", ".join(sorted(metrics)) or "nothing"
    close = difflib.get_close_matches(monitor, list(metrics), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Call self.log({monitor!r}, value)."
    return f"{who} {does} {monitor!r}, which was not logged; logged were: {logged}.{hint}"


def warn_of_unknown_fields(unknown: Sequence[str], metrics: Metrics) -> None:
    """Warn of a field in the template of a file's name that no metric has ever had a value for."""
    if unknown:
        problem = missing_metric("ModelCheckpoint: a file's name", unknown[0], metrics, "shows")
        rank_zero_warn(f"{problem} It stands there as nan.")


def validates_once_an_epoch_or_never(trainer: Trainer) -> bool:
    """Whether the end of a training epoch is also the moment when all its metrics are there."""
    if not trainer.num_val_batches or not sum(trainer.num_val_batches):
        return True
    return bool(trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0)
