"""The five bars of a program that has its own look for them: `init_train_tqdm` and the like.

An override may change the bar that `super()` gives, which is the moving line of the default one,
or return a `tqdm.tqdm(...)` of its own, which is then moved in the place of that line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from engine.callbacks.progress.bar_counts import ProgressBarBase

KINDS = ("train", "sanity", "validation", "test", "predict")


class Bar:
    """The moving line by the names of a tqdm bar; other attributes may be set, and do nothing."""

    def __init__(self, write: Callable[..., None]) -> None:
        self.desc = ""  # in the place of what the line begins with
        self.postfix: dict[str, Any] = {}  # shown behind the metrics
        self.n = 0
        self.total: int | None = None
        self.disable = False
        self.write = write

    def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
        """What the line begins with, until the next epoch."""
        self.desc = (desc or "").rstrip(": ")

    set_description_str = set_description

    def set_postfix(
        self, ordered_dict: Mapping[str, Any] | None = None, refresh: bool = True, **values: Any
    ) -> None:
        """What the line shows beside the metrics."""
        self.postfix = {**(ordered_dict or {}), **values}

    def set_postfix_str(self, text: str = "", refresh: bool = True) -> None:
        """The same as one text."""
        self.postfix = {"": text} if text else {}

    def update(self, n: int = 1) -> None:
        """Count; the line is moved by the run."""
        self.n += n

    def reset(self, total: int | None = None) -> None:
        """Begin anew."""
        self.n, self.total = 0, total

    def refresh(self, *_: object, **__: object) -> None:
        """Nothing: the line is drawn when it is due."""

    clear = close = display = unpause = refresh


class TqdmBars(ProgressBarBase):
    """Makes a bar of each kind when its loop begins."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    sanity_description = "Validation Sanity Check"
    train_description = "Training"
    validation_description = "Validating"
    test_description = "Testing"
    predict_description = "Predicting"

    def init_train_tqdm(self) -> Any:
        """The bar of training."""
        return Bar(self.print)

    def init_sanity_tqdm(self) -> Any:
        """The bar of the validation before the training."""
        return Bar(self.print)

    def init_validation_tqdm(self) -> Any:
        """The bar of a validation."""
        return Bar(self.print)

    def init_test_tqdm(self) -> Any:
        """The bar of a test."""
        return Bar(self.print)

    def init_predict_tqdm(self) -> Any:
        """The bar of a prediction."""
        return Bar(self.print)

    @property
    def main_progress_bar(self) -> Any:
        """The bar of training; while the sanity check runs, its own."""
        return self._bar("sanity" if "sanity" in self._bars else "train")

    @main_progress_bar.setter
    def main_progress_bar(self, bar: Any) -> None:
        self._bars["train"] = bar

    @property
    def val_progress_bar(self) -> Any:
        """The bar of validation."""
        return self._bar("validation")

    @val_progress_bar.setter
    def val_progress_bar(self, bar: Any) -> None:
        self._bars["validation"] = bar

    @property
    def test_progress_bar(self) -> Any:
        """The bar of a test."""
        return self._bar("test")

    @test_progress_bar.setter
    def test_progress_bar(self, bar: Any) -> None:
        self._bars["test"] = bar

    @property
    def predict_progress_bar(self) -> Any:
        """The bar of a prediction."""
        return self._bar("predict")

    @predict_progress_bar.setter
    def predict_progress_bar(self, bar: Any) -> None:
        self._bars["predict"] = bar

    # ------------------------------------------------------------------ moving them

    def _bar(self, kind: str) -> Any:
        return self._bars.setdefault(kind, Bar(self.print))

    def _has_own_bars(self) -> bool:
        """Whether a subclass makes any of them."""
        return any(
            getattr(type(self), name) is not getattr(TqdmBars, name)
            for name in (f"init_{kind}_tqdm" for kind in KINDS)
        )

    def _open(self, kind: str, shows: bool, batches: int | float | None = None) -> None:
        made = getattr(self, f"init_{kind}_tqdm")() if shows else Bar(self.print)
        self._bars[kind] = made
        if batches is not None:
            self._restart(kind, batches)

    def _restart(self, kind: str, batches: int | float) -> None:
        """From zero again, of so many batches."""
        self._bar(kind).reset(int(batches) if math.isfinite(batches) else None)

    def _shut(self, kind: str) -> None:
        if kind in self._bars:
            self._bars.pop(kind).close()

    def _foreign(self, kind: str) -> Any:
        """The bar of a kind, if it is none of ours."""
        bar = self._bars.get(kind)
        return None if isinstance(bar, Bar) else bar

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_bars": {}}


def advance(bar: Any, done: int, values: Mapping[str, Any]) -> None:
    """Let a tqdm bar show how many batches are done, and values beside."""
    bar.n = done
    if values:
        bar.set_postfix({name: plain(value) for name, value in values.items()})
    else:
        bar.refresh()


def plain(value: Any) -> Any:
    """A number in the place of a tensor of one."""
    return value.item() if hasattr(value, "item") and value.numel() == 1 else value
