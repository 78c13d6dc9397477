"""When a ModelCheckpoint saves: decisions about steps and epochs, without side effects."""

from __future__ import annotations

from dataclasses import dataclass

from engine.callbacks.checkpoint.settings import SaveTriggers


@dataclass(frozen=True)
class SaveSchedule:
    """The moments of a fit at which a checkpoint is due.

    Attributes:
        every_n_steps: a checkpoint every so many optimizer steps; 0 for none.
        every_n_epochs: a checkpoint every so many epochs; 0 for none.
        interval_s: a checkpoint whenever so many seconds have passed; None for none.
        on_train_epoch_end: whether an epoch's checkpoint is due when its training ends (True) or
            when it has been validated (False); None leaves it to how often validation runs.
    """

    every_n_steps: int
    every_n_epochs: int
    interval_s: float | None
    on_train_epoch_end: bool | None

    @property
    def follows_batches(self) -> bool:
        """Whether a checkpoint can be due in the middle of an epoch."""
        return bool(self.every_n_steps) or self.interval_s is not None

    def is_due_after_step(self, step: int) -> bool:
        """Whether optimizer step `step` (counted from 1) is one to save after."""
        return step % self.every_n_steps == 0

    def may_be_due_next(self, step: int) -> bool:
        """Whether the step that follows `step` may be one to save after."""
        return self.interval_s is not None or (step + 1) % self.every_n_steps == 0

    def is_due_in_epoch(self, epoch: int) -> bool:
        """Whether epoch `epoch` (counted from 0) is one to save in."""
        return self.every_n_epochs > 0 and (epoch + 1) % self.every_n_epochs == 0


def schedule_of(triggers: SaveTriggers, on_train_epoch_end: bool | None) -> SaveSchedule:
    """The schedule that the triggers ask for: without any, a checkpoint every epoch."""
    interval = triggers.train_time_interval
    return SaveSchedule(
        every_n_steps=triggers.every_n_train_steps or 0,
        every_n_epochs=1 if triggers == SaveTriggers() else triggers.every_n_epochs or 0,
        interval_s=interval.total_seconds() if interval else None,
        on_train_epoch_end=on_train_epoch_end,
    )
