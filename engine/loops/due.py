"""When a validation is due, and when the training is done: decisions by settings and progress,
to which a resumed run comes as well.
"""

from __future__ import annotations

from engine.loops.run import Run
from engine.loops.state import Progress
from engine.runtime.settings import FitSettings, OptimizerSteps


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


def is_done(run: Run) -> bool:
    """Whether training ends before the next epoch, or batch."""
    fit, state = run.settings.fit, run.state
    progress = state.progress
    if 0 <= fit.max_steps <= progress.step:
        return True
    if fit.max_epochs is not None and 0 <= fit.max_epochs <= progress.epoch:
        return True
    return state.should_stop and may_stop(run)


def where(run: Run) -> str:
    """How far a run is that has nothing left to train, and what to do."""
    fit, progress = run.settings.fit, run.state.progress
    return (
        f"this run is at epoch {progress.epoch}, step {progress.step}, and the Trainer has "
        f"max_epochs={fit.max_epochs}, max_steps={fit.max_steps}. Raise them to go on, or make a "
        "new Trainer to begin anew"
    )


def may_stop(run: Run) -> bool:
    """Whether a request to stop is heard: not before `min_epochs` and `min_steps`."""
    fit, progress = run.settings.fit, run.state.progress
    epochs = progress.epoch + (1 if progress.epoch_ended else 0)
    return epochs >= (fit.min_epochs or 0) and progress.step >= (fit.min_steps or 0)
