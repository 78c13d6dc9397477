"""A limit to how long training takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from engine.callbacks.attach import attach
from engine.callbacks.base import Callback
from engine.runtime.coordination.timer import SharedTimer
from engine.runtime.distributed.world import rank_zero_info
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import duration as read_duration

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import State
    from engine.trainer.trainer import Trainer

STAGES = ("train", "validate", "test")


class Timer(Callback):
    """Measures how long training, validation and test take, and ends the training in time.

    `duration`: "DD:HH:MM:SS", a dict of timedelta's words, or a timedelta; None only measures.
    `interval`: whether it looks after each "step" or each "epoch". The time of runs that a
    checkpoint goes on from counts. Rank zero's clock is that of all ranks, which are asked ever
    less often while there is much time left.

    Args:
        duration: how long training may take: `"DD:HH:MM:SS"`, a timedelta, or a dict of timedelta's
            arguments such as `{"hours": 2}`. By default None: time is only measured.
        interval: whether the limit is checked after each `"step"` or each `"epoch"`. By default
            `"step"`.
        verbose: whether to print that the limit was reached. By default True.
        clock: the clock, in seconds; for tests. By default `time.monotonic`.

    Raises:
        MisconfigurationException: `duration` can't be read, or `interval` is neither of the two.
    """

    def __init__(
        self,
        duration: str | timedelta | dict[str, int] | None = None,
        interval: str = "step",
        verbose: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        interval = str(getattr(interval, "value", interval))
        if interval not in ("step", "epoch"):
            raise MisconfigurationException(f"Timer(interval={interval!r}): give 'step' or 'epoch'")
        self.interval = interval
        self._duration_s = _seconds(duration)
        self._verbose = verbose
        self._clock = clock
        self._earlier_s = 0.0  # of runs that a checkpoint goes on from
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._every: SharedTimer | None = None
        if self._duration_s is not None:
            if interval == "step":
                attach(self, "on_train_batch_end", self._after_batch)
            else:
                attach(self, "on_train_epoch_end", self._after_epoch)

    def start_time(self, stage: str = "train") -> float | None:
        """The clock when a stage began."""
        return self._began.get(_stage(stage))

    def end_time(self, stage: str = "train") -> float | None:
        """The clock when a stage ended."""
        return self._ended.get(_stage(stage))

    def time_elapsed(self, stage: str = "train") -> float:
        """Seconds that a stage has taken so far."""
        stage = _stage(stage)
        earlier_s = self._earlier_s if stage == "train" else 0.0
        if stage not in self._began:
            return earlier_s
        return self._ended.get(stage, self._clock()) - self._began[stage] + earlier_s

    def time_remaining(self, stage: str = "train") -> float | None:
        """Seconds that are left, None where there is no limit."""
        return None if self._duration_s is None else self._duration_s - self.time_elapsed(stage)

    def state_dict(self) -> State:
        """How long it took so far."""
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in STAGES}}

    def load_state_dict(self, state_dict: State) -> None:
        """Go on counting."""
        self._earlier_s = state_dict.get("time_elapsed", {}).get("train", 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The time begins."""
        self._begin("train")
        left_s = self.time_remaining()
        if left_s is None:
            return
        if left_s <= 0:  # all ranks read the same checkpoint
            self._stop(trainer)
        self._every = SharedTimer(max(0.0, left_s), self._clock)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The time ends."""
        self._ended["train"] = self._clock()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure this validation."""
        self._begin("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """This validation is done."""
        self._ended["validate"] = self._clock()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure this test."""
        self._begin("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """This test is done."""
        self._ended["test"] = self._clock()

    def _begin(self, stage: str) -> None:
        self._ended.pop(stage, None)
        self._began[stage] = self._clock()

    def _after_batch(self, trainer: Trainer, *_: object) -> None:
        every = self._every
        if every is not None and every.is_due(trainer.strategy.broadcast, trainer.is_global_zero):
            self._stop(trainer)

    def _after_epoch(self, trainer: Trainer, *_: object) -> None:
        left_s = self.time_remaining()
        if trainer.strategy.broadcast(left_s is not None and left_s <= 0):
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        trainer.should_stop = True
        self._every = None
        if self._verbose:
            limit = timedelta(seconds=self._duration_s or 0)
            elapsed = timedelta(seconds=int(self.time_elapsed()))
            rank_zero_info(
                f"engine: Time limit reached ({limit}), elapsed time is {elapsed}: training stops"
            )


def _stage(stage: Any) -> str:
    word = str(getattr(stage, "value", stage))
    return "train" if word == "fit" else word


def _seconds(duration: Any) -> float | None:
    try:
        given = read_duration(duration)
    except (ValueError, TypeError) as error:
        raise MisconfigurationException(f"Timer(duration={duration!r}): give {error}") from None
    return None if given is None else given.total_seconds()
