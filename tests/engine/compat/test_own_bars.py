"""Bars of a program's own: the methods of 1.x that make them, and the base that shows nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from engine.callbacks import ProgressBar, ProgressBarBase, RichProgressBar, TQDMProgressBar
from tests.engine.support.toy import Toy, loader, quiet

tqdm = pytest.importorskip("tqdm").tqdm


class Looks(TQDMProgressBar):
    """Makes the bars of training and validation itself, and keeps them to be looked at."""

    def __init__(self) -> None:
        super().__init__(refresh_s=0.0)
        self.made: dict[str, Any] = {}
        self.calls: list[str] = []

    def _new(self, what: str) -> Any:
        self.calls.append(what)
        bar = tqdm(desc=what, file=io.StringIO(), mininterval=0, position=2 * self.process_position)
        self.made[what] = bar
        return bar

    def init_train_tqdm(self) -> Any:
        return self._new("train")

    def init_sanity_tqdm(self) -> Any:
        return self._new("sanity")

    def init_validation_tqdm(self) -> Any:
        return self._new("validation")

    def init_test_tqdm(self) -> Any:
        return self._new("test")

    def init_predict_tqdm(self) -> Any:
        return self._new("predict")

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        items = super().get_metrics(trainer, pl_module)
        return {**items, "mine": 3}


def test_bars_that_a_program_makes_are_moved(tmp_path: Path, capsys: Any) -> None:
    """One of each kind, with its total and what `get_metrics` says; closed at the end."""
    bar = Looks()
    trainer = quiet(
        tmp_path, callbacks=[bar], enable_progress_bar=True, num_sanity_val_steps=1, max_epochs=2
    )
    trainer.fit(Toy(), loader(), loader(8))
    trainer.test(Toy(), loader(8), verbose=False)
    trainer.predict(Toy(), loader(8))

    assert bar.calls == ["sanity", "train", "validation", "validation", "test", "predict"]
    ends = {name: (one.n, one.total) for name, one in bar.made.items()}
    assert ends == {
        **{"train": (6, 6), "sanity": (1, 1), "validation": (2, 2)},
        **{"test": (2, 2), "predict": (2, 2)},
    }
    drawn = bar.made["train"].fp.getvalue()
    assert "Epoch 0:" in drawn and "Epoch 1:" in drawn and "mine=3" in drawn
    assert all(one.disable for one in bar.made.values())
    assert "epoch 1/2" not in capsys.readouterr().err  # the default line gives way


class Renames(ProgressBar):
    """Changes the bar that it gets, as the documentation of 1.x has it."""

    def init_validation_tqdm(self) -> Any:
        bar = super().init_validation_tqdm()
        bar.set_description("running validation ...")
        bar.ncols = 40
        return bar

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.main_progress_bar.set_description("my epoch")
        self.main_progress_bar.set_postfix({"rate": 5}, fold=2)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_line_takes_what_is_said_to_its_bar(tmp_path: Path, monkeypatch: Any) -> None:
    """A description and a postfix appear in the moving line; what it has no use for is taken."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    bar = Renames(stream=Terminal(), refresh_s=0.0)
    trainer = quiet(tmp_path, callbacks=[bar], enable_progress_bar=True)
    trainer.fit(Toy(), loader(), loader(8))
    text = bar._stream.getvalue()

    assert "my epoch  [" in text and "rate=5 fold=2" in text and "running validation ...  [" in text
    assert trainer.progress_bar_callback.main_progress_bar.desc == ""  # of the next fit


class Own(ProgressBarBase):
    """Shows nothing of the engine's, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        super().on_validation_batch_end(trainer, pl_module, *args)
        self.seen.append(self.val_batch_idx)


def test_the_base_shows_nothing_and_takes_the_default_ones_place(
    tmp_path: Path, capsys: Any
) -> None:
    """Counts of validation go over all loaders; `enable` and `print` are there."""
    bar = Own()
    trainer = quiet(tmp_path, callbacks=[bar], enable_progress_bar=True)
    trainer.fit(Toy(), loader(), [loader(8), loader(12)])
    bar.print("a line")

    assert trainer.progress_bar_callback is bar
    assert bar.seen == [1, 2, 3, 4, 5] and bar.is_enabled
    out = capsys.readouterr()
    assert (out.out, "epoch" in out.err) == ("a line\n", False)
    assert RichProgressBar(leave=True, theme=object()).refresh_rate == 1
    assert TQDMProgressBar(leave=True, refresh_rate=3).refresh_rate == 3
