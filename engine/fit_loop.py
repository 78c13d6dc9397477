"""`trainer.fit_loop`: the names by which programs of 1.5 and 2.x ask how far a fit goes."""

from __future__ import annotations

from typing import Any


class FitLoopView:
    """Shows how far a trainer trains and has trained; its limits can be set between two fits."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def max_epochs(self) -> int | None:
        """After how many epochs training ends."""
        limit: int | None = self._trainer.max_epochs
        return limit

    @max_epochs.setter
    def max_epochs(self, value: int | None) -> None:
        self._trainer.max_epochs = value

    @property
    def max_steps(self) -> int:
        """After how many optimizer steps training ends."""
        limit: int = self._trainer.max_steps
        return limit

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self._trainer.max_steps = value

    @property
    def min_epochs(self) -> int | None:
        """Before how many epochs training does not end."""
        limit: int | None = self._trainer.min_epochs
        return limit

    @property
    def min_steps(self) -> int | None:
        """Before how many optimizer steps training does not end."""
        limit: int | None = self._trainer.min_steps
        return limit

    @property
    def current_epoch(self) -> int:
        """Index of the epoch that runs."""
        epoch: int = self._trainer.current_epoch
        return epoch

    @property
    def global_step(self) -> int:
        """Number of optimizer steps taken."""
        step: int = self._trainer.global_step
        return step
