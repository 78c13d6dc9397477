"""Progress for a person: one moving line on a terminal, one line an epoch anywhere else."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

import torch

from engine.callbacks.attach import attach
from engine.callbacks.progress.async_values import AsyncValues
from engine.callbacks.progress.bar_counts import ProgressBarBase as ProgressBarBase
from engine.callbacks.progress.tqdm_bars import TqdmBars, advance

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import Batch, Metrics, StepOutput
    from engine.trainer.trainer import Trainer

CLEAR = "\r\x1b[K"
BAR_WIDTH = 20


class ProgressBar(TqdmBars):
    """Shows on rank zero how far the run is.

    It looks at most every `refresh_rate` batches and every `refresh_s` seconds, and takes what is
    on the CPU already: within an epoch it never waits for the device. Override `get_metrics` to
    show other values, and `init_train_tqdm` and the like for bars of your own.

    Args:
        refresh_rate: after how many batches the line may change; 0 shows nothing. By default 1.
        process_position: the line of the terminal, for bars of other programs above. By default 0.
        refresh_s: the least time between two changes, in seconds. By default 0.1.
        stream: where it is written. By default None: standard error.
        leave: accepted and without effect: one line of each epoch stays anyway.
    """

    monitor = None  # it shows metrics, so its turn comes after the module's own hooks

    def __init__(
        self,
        refresh_rate: int = 1,
        process_position: int = 0,
        refresh_s: float = 0.1,
        stream: TextIO | None = None,
        leave: bool = False,
    ) -> None:
        super().__init__()
        self.refresh_rate = refresh_rate
        self.process_position = process_position
        self._refresh_s = refresh_s
        self._stream = stream
        self._enabled = refresh_rate > 0
        self._values = AsyncValues()
        self._in_fit = False
        self._line = ""
        self._began = 0.0
        self._due = math.inf  # the time of the next look; stays infinite on other ranks
        self._first_batch: int | None = None  # that the line saw, of what it shows
        self._began_moving = 0.0
        self._moving = ""
        self._eval_batches = 0
        if self._enabled and (is_terminal(self._out) or self._has_own_bars()):
            for kind in ("train", "validation", "test", "predict"):
                attach(self, f"on_{kind}_batch_end", getattr(self, f"_after_{kind}_batch"))

    def disable(self) -> None:
        """Show nothing."""
        super().disable()
        self._due = math.inf

    def print(self, *values: Any, **options: Any) -> None:
        """Print, as the built-in does, above the moving line."""
        line = self._line
        self._erase()
        self._out.flush()
        print(*values, **options)  # noqa: T201  (printing is what it is for)
        if line:
            sys.stdout.flush()
            self._draw(line)

    # ------------------------------------------------------------------ training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The training begins, perhaps in the middle of an epoch."""
        self._in_fit = True
        self._open("train", self._shows(trainer))
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch begins."""
        self._begin(trainer)
        if self._in_fit:
            self._restart("train", trainer.num_training_batches)
            own = self._foreign("train") is not None
            self.main_progress_bar.set_description(f"Epoch {trainer.current_epoch}" if own else "")

    def _after_train_batch(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        *_: object,
    ) -> None:
        now = perf_counter()
        if now < self._due or (batch_idx + 1) % self.refresh_rate:
            return
        values = self._values.read(self.get_metrics(trainer, pl_module))
        parts = (batch_idx, trainer.num_training_batches, values)
        self._move(now, "train", epoch_of(trainer), *parts)

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """One line of every epoch remains."""
        # Its metrics are reduced by now. A run that picked none for the bar shows all it has.
        shown = self.get_metrics(trainer, pl_module) or dict(trainer.callback_metrics)
        shown = without_steps(shown)
        batches = trainer.num_training_batches
        self._conclude(trainer, "train", epoch_of(trainer), batches, shown)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The training has ended."""
        self._in_fit = False
        self._erase()
        self._shut("train")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """What is printed next must not stand behind half a line."""
        self._in_fit = False
        if self._line:
            self._line = ""
            self._out.write("\n")

    # ------------------------------------------------------------------ the other loops

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation begins; within an epoch it takes part in the epoch's time."""
        self._begin_eval(trainer, *_validation(trainer))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test begins."""
        self._begin_eval(trainer, "test", trainer.num_test_batches)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prediction begins."""
        self._begin_eval(trainer, "predict", trainer.num_predict_batches)

    def _after_validation_batch(self, trainer: Trainer, *_: object) -> None:
        kind, batches = _validation(trainer)
        self._after_eval_batch(kind, "validate", batches)

    def _after_test_batch(self, trainer: Trainer, *_: object) -> None:
        self._after_eval_batch("test", "test", trainer.num_test_batches)

    def _after_predict_batch(self, trainer: Trainer, *_: object) -> None:
        self._after_eval_batch("predict", "predict", trainer.num_predict_batches)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation has ended; within an epoch the epoch's line says it."""
        kind, batches = _validation(trainer)
        self._end_eval(trainer, kind, "validate", batches)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test has ended."""
        self._end_eval(trainer, "test", "test", trainer.num_test_batches)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prediction has ended."""
        self._end_eval(trainer, "predict", "predict", trainer.num_predict_batches)

    def _begin_eval(self, trainer: Trainer, kind: str, batches: list[int | float]) -> None:
        self._eval_batches = 0
        self._open(kind, self._shows(trainer), sum(batches))
        if not self._in_fit and not trainer.sanity_checking:
            self._begin(trainer)

    def _after_eval_batch(self, kind: str, what: str, batches: Any) -> None:
        self._eval_batches += 1
        now = perf_counter()
        if now >= self._due and self._eval_batches % self.refresh_rate == 0:
            self._move(now, kind, what, self._eval_batches - 1, batches, {})

    def _end_eval(self, trainer: Trainer, kind: str, what: str, batches: Any) -> None:
        is_alone = not self._in_fit and not trainer.sanity_checking
        if is_alone or self._foreign(kind) is not None:
            self._conclude(trainer, kind, what, batches, {})
        self._shut(kind)

    # ------------------------------------------------------------------ writing

    @property
    def _out(self) -> TextIO:
        return self._stream or sys.stderr  # looked up late: tests and notebooks replace it

    def _begin(self, trainer: Trainer) -> None:
        self._first_batch = None
        self._began = perf_counter()
        self._due = self._began + self._refresh_s if self._shows(trainer) else math.inf

    def _shows(self, trainer: Trainer) -> bool:
        return bool(self._enabled and trainer.is_global_zero)

    def _move(
        self,
        now: float,
        kind: str,
        what: str,
        batch_idx: int,
        batches: Any,
        values: Mapping[str, Any],
    ) -> None:
        self._due = now + self._refresh_s
        own, bar = self._foreign(kind), self._bar(kind)
        if own is not None:
            return advance(own, batch_idx + 1, values)
        if self._in_fit and self._foreign("train") is not None:
            return None  # one bar at a time
        what, values = bar.desc or what, {**values, **bar.postfix}
        if self._first_batch is None or what != self._moving:
            self._first_batch, self._began_moving, self._moving = batch_idx, now, what
        done, total = batch_idx + 1, total_of(batches)
        parts = [what, f"{done}"]
        if total:
            filled = min(BAR_WIDTH, BAR_WIDTH * done // total)
            parts[1:] = [f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]", f"{done}/{total}"]
        if now > self._began_moving:
            speed = (batch_idx - self._first_batch) / (now - self._began_moving)
            parts.append(f"{speed:.1f} batches/s")
        self._draw("  ".join([*parts, text_of(values)]).rstrip())

    def _conclude(
        self, trainer: Trainer, kind: str, what: str, batches: Any, values: Mapping[str, Any]
    ) -> None:
        if not self._shows(trainer):
            return
        total, own = total_of(batches), self._foreign(kind)
        if own is not None:
            advance(own, total or own.n, values)
            return
        parts = [what, f"{total} batches"] if total else [what]
        seconds = f"{perf_counter() - self._began:.1f} s"
        self._erase()
        self._out.write("  ".join([*parts, seconds, text_of(values)]).rstrip() + "\n")
        self._out.flush()

    def _draw(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._line = line[:width]
        self._out.write(self._placed(CLEAR + self._line))
        self._out.flush()

    def _erase(self) -> None:
        if self._line:
            self._line = ""
            self._out.write(self._placed(CLEAR))

    def _placed(self, text: str) -> str:
        """What writes `text` so many lines further down, beside the bars of other programs."""
        down = self.process_position
        return f"{chr(10) * down}{text}\x1b[{down}A\r" if down else text


TQDMProgressBar = ProgressBar


class RichProgressBar(ProgressBar):
    """The same bar, with the arguments of Lightning's; colours and the like do nothing."""

    def __init__(
        self,
        refresh_rate: int = 1,
        leave: bool = False,
        theme: Any = None,
        console_kwargs: Any = None,
    ) -> None:
        super().__init__(refresh_rate)


def _validation(trainer: Trainer) -> tuple[str, list[int | float]]:
    """The kind of validation that runs, and its batches."""
    if trainer.sanity_checking:
        return "sanity", trainer.num_sanity_val_batches
    return "validation", trainer.num_val_batches


def is_terminal(stream: TextIO) -> bool:
    """Whether a line on this stream can be drawn over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def epoch_of(trainer: Trainer) -> str:
    """`epoch 3/10`, counted from one as people do."""
    last = trainer.max_epochs
    total = f"/{last}" if last is not None and last > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{total}"


def total_of(batches: Any) -> int | None:
    """The number of batches of all loaders; None where a loader has no length."""
    count = sum(batches) if isinstance(batches, (list, tuple)) else batches
    return int(count) if count is not None and math.isfinite(count) else None


def without_steps(metrics: Metrics) -> dict[str, Any]:
    """An epoch's values: where a metric has `_step` and `_epoch`, the latter under its own name."""
    values: dict[str, Any] = {}
    for name, value in metrics.items():
        base, _, kind = name.rpartition("_")
        if kind == "epoch" and f"{base}_step" in metrics:
            values[base] = value
        elif kind != "step" or f"{base}_epoch" not in metrics:
            values.setdefault(name, value)
    return values


def text_of(values: Mapping[str, Any]) -> str:
    """`train_loss=0.21 val_acc=0.97`."""
    parts = ((f"{name}=" if name else "", _value_text(value)) for name, value in values.items())
    return " ".join(f"{start}{text}" for start, text in parts)


def _value_text(value: object) -> str:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
