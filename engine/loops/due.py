"""When a validation is due: a pure decision, which a resumed run comes to as well."""

from __future__ import annotations

from engine.settings import FitSettings, OptimizerSteps
from engine.state import Progress


def epoch_validates(fit: FitSettings, progress: Progress) -> bool:
    """Whether the epoch that runs is one of those with validation."""
    every = fit.check_val_every_n_epoch
    return every is None or (bool(every) and (progress.epoch + 1) % every == 0)


def validation_is_due(fit: FitSettings, progress: Progress, count: int | float) -> bool:
    """Whether to validate after the batch that was done last; an interval of time is not for here.

    `count` batches were promised for the epoch. Where its data ends before, a share of it ends
    there, too, and so does a number of batches that the epoch never came to.
    """
    interval = fit.val_check_interval
    is_whole_epoch = interval == 1.0 and isinstance(interval, float)
    if (is_whole_epoch and not progress.is_last) or not epoch_validates(fit, progress):
        return False
    if isinstance(interval, OptimizerSteps):
        return progress.stepped and progress.step % interval.number == 0
    is_short = progress.is_last and progress.batch < count != float("inf")
    if isinstance(interval, float):
        if is_whole_epoch:
            return True
        return is_short or progress.batch % max(1, int(count * interval)) == 0
    if not isinstance(interval, int):
        return False
    if fit.check_val_every_n_epoch is None or interval > count or count == float("inf"):
        return progress.total_batches % interval == 0
    return progress.batch % interval == 0 or (is_short and progress.batch < interval)
