"""ProgressBar: one line an epoch, a moving line on a terminal, and almost no cost."""

import io
import re
from time import perf_counter

import pytest
import torch

from engine.callbacks import PrintTableMetricsCallback, ProgressBar, TQDMProgressBar
from engine.callbacks.base import Callback
from engine.callbacks.progress.async_values import AsyncValues
from engine.callbacks.progress.bar import CLEAR, is_terminal, text_of, total_of, without_steps
from engine.callbacks.progress.print_table import table_of
from tests.engine.support.scripted import Scripted, trainer_for


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _terminal_type(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def shown(folder, stream, bar=None, model=None, **options) -> str:
    bar = bar or ProgressBar(stream=stream, refresh_s=0.0)
    trainer = trainer_for(folder, bar, **{"enable_progress_bar": True, "max_epochs": 2, **options})
    trainer.fit(model or Scripted([0.5, 0.25]))
    return stream.getvalue()


def test_off_a_terminal_each_epoch_is_one_line(tmp_path):
    """No bars, no control characters: what a log file can hold."""
    text = shown(tmp_path, io.StringIO())

    assert re.sub(r"\d+\.\d s", "T s", text).splitlines() == [
        "epoch 1/2  4 batches  T s  score=0.5 train_loss=0.7",
        "epoch 2/2  4 batches  T s  score=0.25 train_loss=0.3",
    ]


def test_on_a_terminal_a_line_moves_and_the_epochs_remain(tmp_path):
    """What stays after all drawing over is the same as off a terminal."""
    text = shown(tmp_path, Terminal())

    moving = [part for part in text.split(CLEAR) if "batches/s" in part]
    assert any("epoch 1/2  [##########..........]  2/4" in part for part in moving)
    assert any("train_loss=" in part for part in moving)
    assert any(part.startswith("validate") for part in text.split(CLEAR))
    remaining = [line.rsplit(CLEAR, 1)[-1] for line in text.split("\n")]
    assert [line.split("  ")[0] for line in remaining] == ["epoch 1/2", "epoch 2/2", ""]


def test_bars_below_each_other(tmp_path):
    """S133: process_position is the number of lines further down that the line moves on."""
    bar = ProgressBar(stream=Terminal(), refresh_s=0.0, process_position=2)
    text = shown(tmp_path, bar._stream, bar)

    moving = [part for part in text.split(CLEAR) if "batches/s" in part]
    assert moving and all(part.split("\x1b[")[1].startswith("2A\r") for part in moving)
    assert text.count("\n\n" + CLEAR) == text.count(CLEAR) == text.count("\x1b[2A\r")
    assert text.count("\n") == 2 * text.count(CLEAR) + 2  # both epochs' lines stay where they were


def test_it_looks_seldom(tmp_path):
    """Within refresh_s seconds nothing is drawn, and refresh_rate skips batches."""
    bar = ProgressBar(stream=Terminal(), refresh_s=1000.0)
    assert "[#" not in shown(tmp_path, bar._stream, bar)

    bar = ProgressBar(stream=Terminal(), refresh_s=0.0, refresh_rate=4)
    text = shown(tmp_path, bar._stream, bar, Scripted(batches=16), limit_val_batches=0)
    assert re.findall(r"(\d+)/16", text) == ["4", "8", "12", "16"] * 2


def test_the_bar_shows_what_was_logged_for_it(tmp_path):
    """S092: prog_bar=True is in the bar's text, all else is not."""

    class Both(Scripted):
        def training_step(self, batch, batch_idx):
            self.log("hidden", 1.0)
            return super().training_step(batch, batch_idx)

    text = shown(tmp_path, io.StringIO(), model=Both([0.5, 0.25]))
    assert "score=0.5 train_loss=0.7" in text
    assert "hidden" not in text


def test_a_run_that_picked_no_metric_for_the_bar_shows_what_it_has(tmp_path):
    """prog_bar=True is not needed to see how it goes."""

    class Plain(Scripted):
        def training_step(self, batch, batch_idx):
            loss = (self.weight * batch).mean()
            self.log("loss", loss)
            return loss

    assert "loss=0.7" in shown(tmp_path, io.StringIO(), model=Plain())


def test_other_values_can_be_shown(tmp_path):
    """get_metrics is the place to override."""

    class Mine(ProgressBar):
        def get_metrics(self, trainer, pl_module):
            return {"answer": 42, "text": "yes", **super().get_metrics(trainer, pl_module)}

    stream = io.StringIO()
    assert "answer=42 text=yes score=0.5" in shown(tmp_path, stream, Mine(stream=stream))


def test_disabled_it_shows_nothing(tmp_path):
    """refresh_rate=0 and disable() are silence; enable() ends it."""
    for disable in (True, False):
        stream = Terminal()
        bar = ProgressBar(refresh_rate=1 if disable else 0, stream=stream)
        if disable:
            bar.disable()
        assert shown(tmp_path, stream, bar) == ""
    bar.enable()
    assert bar.is_enabled


def test_printing_goes_above_the_line(tmp_path, capsys):
    """self.print clears the moving line, prints to stdout, and the line is drawn again."""

    class Talks(Scripted):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 2:
                before.append(stream.getvalue())
                self.print("hello", 1)
                after.append(stream.getvalue())

    before, after, stream = [], [], Terminal()
    shown(tmp_path, stream, model=Talks([0.5]), max_epochs=1)

    line = before[0].rsplit(CLEAR, 1)[-1]
    assert "3/4" in line
    assert after[0] == before[0] + CLEAR + CLEAR + line
    assert capsys.readouterr().out == "hello 1\n"


def test_the_speed_is_of_what_the_line_shows(tmp_path):
    """Validation does not count the time of the training before it."""
    text = shown(tmp_path, Terminal(), max_epochs=1)

    first = next(part for part in text.split(CLEAR) if part.startswith("validate"))
    assert "1/2" in first
    assert "batches/s" not in first


def test_an_exception_begins_a_line_of_its_own(tmp_path):
    """A traceback never stands behind half a line."""

    class Breaks(Scripted):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                raise RuntimeError("broken")
            return super().training_step(batch, batch_idx)

    stream = Terminal()
    with pytest.raises(RuntimeError, match="broken"):
        shown(tmp_path, stream, model=Breaks())

    assert stream.getvalue().endswith("\n")


def test_test_and_validate_have_a_line(tmp_path):
    """The loops that run by themselves say how long they took."""
    for method, word in (("validate", "validate"), ("test", "test")):
        bar = ProgressBar(stream=io.StringIO())
        trainer = trainer_for(tmp_path, bar, enable_progress_bar=True)
        getattr(trainer, method)(Scripted([0.5]), verbose=False)
        assert re.fullmatch(rf"{word}  2 batches  \d+\.\d s\n", bar._stream.getvalue())


def test_off_a_terminal_no_hook_runs_at_a_batch():
    """A hook that is not overridden is never called: the bar costs a batch nothing there."""
    quiet, moving = ProgressBar(stream=io.StringIO()), ProgressBar(stream=Terminal())

    for name in ("on_train_batch_end", "on_validation_batch_end", "on_train_batch_start"):
        assert getattr(quiet, name).__func__ is getattr(Callback, name)
    assert moving.on_train_batch_end.__func__ is not Callback.on_train_batch_end


def test_a_subclass_keeps_its_own_hook():
    """The bar's own hook does not stand in the way of one that a subclass has."""

    class Mine(TQDMProgressBar):
        def on_train_batch_end(self, *args):
            return "mine"

    assert Mine(stream=Terminal()).on_train_batch_end() == "mine"


def test_between_two_looks_a_batch_only_reads_the_clock():
    """Until the next look is due, no metric is read (there is no trainer), nothing is written."""
    stream = Terminal()
    bar = ProgressBar(stream=stream, refresh_s=1000.0)
    bar._due = perf_counter() + 1000.0
    before = stream.getvalue()

    for index in range(100):
        bar.on_train_batch_end(None, None, None, None, index, 0)

    assert stream.getvalue() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_values_on_a_gpu_are_shown_without_waiting():
    """No call makes the device wait, and a later call shows what an earlier one copied."""
    values, loss = AsyncValues(), torch.tensor(0.5, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert values.read({"loss": loss, "n": 3}) == {"n": 3}
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()

    assert values.read({"loss": loss, "n": 4}) == {"loss": 0.5, "n": 4}


def test_values_on_the_cpu_are_shown_at_once():
    """Tensors become numbers; everything else stays."""
    values = {"a": torch.tensor(0.5), "b": 1, "c": "x"}

    assert AsyncValues().read(values) == {"a": 0.5, "b": 1, "c": "x"}


def test_an_epoch_shows_its_own_values():
    """Where a metric has a value of the step and one of the epoch, the epoch's is its value."""
    metrics = {"a": 1, "loss": 2, "loss_step": 2, "loss_epoch": 3, "c_step": 4, "epoch": 5}

    assert without_steps(metrics) == {"a": 1, "loss": 3, "c_step": 4, "epoch": 5}


def test_texts():
    """Numbers of four digits, and totals of several loaders or of none with a length."""
    values = {"a": 0.123456, "b": 3, "c": "x", "d": torch.tensor(2.0)}
    assert text_of(values) == "a=0.1235 b=3 c=x d=2"
    assert total_of(4) == 4
    assert total_of([2, 3]) == 5
    assert total_of([2, float("inf")]) is total_of(float("inf")) is total_of(None) is None


def test_the_table_of_all_epochs(tmp_path, capsys):
    """PrintTableMetricsCallback prints a row for each epoch so far, in aligned columns."""
    assert table_of(
        [{"b": 1.5, "epoch": 0}, {"a": 0.25, "b": 10.125, "epoch": 1}]
    ).splitlines() == [
        "a   │b    │epoch",
        "────────────────",
        "    │1.5  │0    ",
        "0.25│10.12│1    ",
    ]

    trainer_for(tmp_path, PrintTableMetricsCallback(), max_epochs=2).fit(Scripted([0.5, 0.25]))
    table = capsys.readouterr().out.splitlines()
    assert table[-4].replace(" ", "") == "score│train_loss│epoch"
    assert [line.replace(" ", "") for line in table[-2:]] == ["0.5│0.7│0", "0.25│0.3│1"]


@pytest.mark.parametrize(("term", "drawn"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_has_no_moving_line(monkeypatch, term, drawn):
    """A line can't be drawn over there: one line an epoch is written, as into a file."""
    monkeypatch.setenv("TERM", term)
    assert is_terminal(Terminal()) is drawn
