"""What the Trainer's arguments do, each in a short run."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from engine import LightningModule, MisconfigurationException, Trainer
from engine.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, Timer
from engine.loggers import CSVLogger, DummyLogger, MemoryLogger, TensorBoardLogger
from engine.runtime.coordination.timer import SharedTimer
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")
PLAIN = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "max_epochs": 1,
}


def files(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob(pattern) if p.is_file())


# ---------------------------------------------------------------------- loggers and folders


def test_loggers_and_folders(tmp_path, monkeypatch):
    """S128, S129, S131: True is TensorBoard and one checkpoint in lightning_logs/version_n of
    default_root_dir, a new n each run; False is nothing at all; the working folder is left alone.
    """
    root, here = tmp_path / "root", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for version in (0, 1):
        trainer = Trainer(default_root_dir=root, logger=True, checkpoint_callback=True, **PLAIN)
        trainer.fit(Toy(), loader())
        folder = root / f"lightning_logs/version_{version}"
        assert len(list(folder.glob("events.out*"))) == 1
        assert files(folder, "*.ckpt") == ["checkpoints/epoch=0-step=6.ckpt"]
    assert not list(here.iterdir())
    before = files(root)
    Trainer(default_root_dir=root, logger=False, checkpoint_callback=False, **PLAIN).fit(
        Toy(), loader()
    )
    assert files(root) == before


def test_a_list_of_loggers_gets_every_metric(tmp_path):
    """S128, S156: each has the step values of every log_every_n_steps-th step, and the epoch's."""
    memory, csv = MemoryLogger(), CSVLogger(tmp_path)
    trainer = quiet(tmp_path, logger=[memory, csv], log_every_n_steps=3)
    trainer.fit(Toy(), loader(40), loader())
    csv.save()
    assert [step for step, _ in memory.series("train_loss_step")] == [2, 5, 8]
    assert trainer.loggers == [memory, csv] and trainer.logger is memory
    lines = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()
    names = {"train_loss_step", "train_loss_epoch", "val_loss"}
    assert names <= set(lines[0].split(","))
    assert all(memory.series(name) for name in names)


@pytest.mark.parametrize("make", [CSVLogger, TensorBoardLogger])
def test_loggers_write_when_it_is_time(tmp_path, make, monkeypatch):
    """S155: their files grow at every flush_logs_every_n_steps-th step."""
    monkeypatch.setattr("engine.loggers.folders.csv.MAX_UNFLUSHED_S", 1e9)  # for slow machines
    logger, sizes = make(tmp_path), []

    class Watch(Toy):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            found = [p for p in Path(logger.log_dir).glob("*") if p.name != "hparams.yaml"]
            sizes.append(sum(p.stat().st_size for p in found))

        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("loss", loss)
            return loss

    options = {"log_every_n_steps": 1, "flush_logs_every_n_steps": 10}
    quiet(tmp_path, logger=logger, **options).fit(Watch(), loader(25, 1))
    # The hook runs before the values of its step go out.
    grown = [step for step in range(2, 25) if sizes[step] > sizes[step - 1]]
    # TensorBoard's own writer writes in between, too.
    assert {10, 20} <= set(grown) if make is TensorBoardLogger else grown == [10, 20]


def test_checkpoints_have_a_folder_of_their_own(tmp_path):
    """S161: weights_save_path is their root, with the logger's name and version in it."""
    path = tmp_path / "weights"
    options = {"default_root_dir": tmp_path / "logs", "weights_save_path": path, **PLAIN}
    Trainer(**options).fit(Toy(), loader())
    name = "checkpoints/epoch=0-step=6.ckpt"
    assert files(path) == [f"lightning_logs/version_0/{name}"]
    Trainer(logger=False, **options).fit(Toy(), loader())
    assert name in files(path)
    assert not files(tmp_path / "logs", "*.ckpt")


def test_hyperparameters_are_kept_from_loggers(tmp_path):
    """C5: enable_autolog_hparams=False."""
    for wanted in (True, False):
        logger = MemoryLogger()
        quiet(tmp_path, logger=logger, enable_autolog_hparams=wanted).fit(Toy(), loader(4))
        assert bool(logger.hparams) == wanted


# ---------------------------------------------------------------------- what a person sees


def test_what_old_words_show(tmp_path, capsys):
    """S133, S140, S160: the bar's rate and place, the summary's depth; 0 and None are silence."""
    trainer = Trainer(progress_bar_refresh_rate=20, process_position=2, weights_summary="full")
    bar = trainer.progress_bar_callback
    assert (bar.refresh_rate, bar.process_position) == (20, 2)
    assert Trainer(progress_bar_refresh_rate=0).progress_bar_callback is None
    for depth, rows in (("top", 1), ("full", 5), (None, 0)):
        trainer = quiet(tmp_path, weights_summary=depth, enable_model_summary=True)
        capsys.readouterr()
        trainer.fit(Toy(), loader(4))
        shown = capsys.readouterr().err
        assert sum(line[:1].isdigit() and "net" in line for line in shown.splitlines()) == rows


def test_what_was_left_open_is_said(tmp_path, capsys):
    """S146, S177, C6: 1000 epochs without a word, and an old word, in one line each; only once,
    and not where it does not matter."""
    trainer = Trainer(default_root_dir=tmp_path, logger=False, enable_checkpointing=False)
    assert trainer.max_epochs == 1000
    assert not capsys.readouterr().err
    trainer = quiet(tmp_path, max_epochs=None, min_steps=0, distributed_backend="ddp")

    class Short(Toy):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.trainer.should_stop = True

    for _ in range(2):
        trainer.fit(Short(), loader())
    said = capsys.readouterr().err
    assert said.count("max_epochs was not given: 1000") == 1
    assert said.count("distributed_backend='ddp' is an old word for strategy") == 1
    for options in ({"max_steps": 3}, {"fast_dev_run": True}, {"max_time": {"hours": 1}}):
        quiet(tmp_path, **{"max_epochs": None, **options}).fit(Short(), loader())
    assert "1000" not in capsys.readouterr().err


def test_the_logger_may_come_by_position(tmp_path):
    """C5: as 1.x's first argument; more are an error."""
    assert Trainer(False).loggers == []
    with pytest.raises(TypeError, match="by name"):
        Trainer(False, True)


# ---------------------------------------------------------------------- how much


def count_batches(tmp_path, **options):
    counts = dict.fromkeys(("train", "val", "test", "predict"), 0)

    class Count(Toy):
        def training_step(self, batch, batch_idx):
            counts["train"] += 1
            return self.loss(batch)

        def validation_step(self, batch, batch_idx):
            counts["val"] += 1

        def test_step(self, batch, batch_idx):
            counts["test"] += 1

        def predict_step(self, batch, batch_idx):
            counts["predict"] += 1

    model, data = Count(), loader(48)
    trainer = quiet(tmp_path, **options)
    trainer.fit(model, data, data)
    trainer.test(model, data, verbose=False)
    trainer.predict(model, data)
    return tuple(counts.values())


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, (12, 12, 12, 12)),
        ({"limit_train_batches": 10}, (10, 12, 12, 12)),
        ({"limit_train_batches": 0.25}, (3, 12, 12, 12)),
        ({"limit_train_batches": 1}, (1, 12, 12, 12)),
        ({"limit_val_batches": 5, "limit_test_batches": 0.5}, (12, 5, 6, 12)),
        ({"limit_val_batches": 0, "limit_predict_batches": 2}, (12, 0, 12, 2)),
        ({"limit_val_batches": 0.0, "limit_test_batches": 0.0}, (12, 0, 0, 12)),
        ({"limit_test_batches": 3, "limit_predict_batches": 0.25}, (12, 12, 3, 3)),
        ({"fast_dev_run": True, "max_epochs": 3}, (1, 1, 1, 1)),
        ({"fast_dev_run": 7, "max_epochs": 3}, (7, 7, 7, 7)),
    ],
    ids=str,
)
def test_how_many_batches(tmp_path, options, counts):
    """S144, S150-S153: a float is a share, an int a number; fast_dev_run is one epoch of few."""
    assert count_batches(tmp_path, **options) == counts


def test_fast_dev_run_leaves_nothing_behind(tmp_path):
    """S144, S218: no loggers, checkpoints or early stop, whatever was asked for; tune looks for
    nothing."""
    monitor, stop = LearningRateMonitor(), EarlyStopping("no such metric")
    keep = ModelCheckpoint(tmp_path / "kept", save_last=True)
    trainer = Trainer(
        fast_dev_run=2,
        callbacks=[monitor, stop, keep],
        logger=CSVLogger(tmp_path),
        default_root_dir=tmp_path,
        auto_lr_find=True,
        auto_scale_batch_size=True,
        max_epochs=7,
    )
    model = Toy()
    trainer.tune(model, loader())
    trainer.fit(model, loader(), loader())
    assert (trainer.max_epochs, trainer.global_step) == (1, 2)
    assert [type(logger) for logger in trainer.loggers] == [DummyLogger]
    assert model.hparams.lr == 0.1
    assert not files(tmp_path) and not monitor.lrs
    assert keep.best_model_path == "" and stop.stopped_epoch == 0


class Stream(IterableDataset):
    def __iter__(self):
        return iter(DataLoader(loader(10).dataset, batch_size=None))


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({"val_check_interval": 0.25}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ({"val_check_interval": 9}, [9]),
        ({"val_check_interval": "4opt"}, [4, 8, 12]),
        ({"val_check_interval": "4opt", "accumulate_grad_batches": 2}, [4]),
    ],
    ids=str,
)
def test_intervals_of_validation(tmp_path, options, at):
    """S154, C14: more batches than an epoch has are counted across epochs; `opt` counts optimizer
    steps, and validates once at each."""
    steps = []

    class Watch(Toy):
        def on_validation_start(self):
            steps.append(self.global_step)

    quiet(tmp_path, max_epochs=3, **options).fit(Watch(), loader(16), loader(4))
    assert steps == at


@pytest.mark.parametrize("form", ["00:00:00:25", {"seconds": 25}, timedelta(seconds=25)], ids=str)
def test_intervals_of_time(tmp_path, monkeypatch, form):
    """S154, C5: from the last validation's end on; none where check_val_every_n_epoch has none."""
    now, steps = [0.0], []
    monkeypatch.setattr("engine.loops.fit.SharedTimer", partial(SharedTimer, clock=lambda: now[0]))

    class Watch(Toy):
        def on_train_batch_start(self, batch, batch_idx):
            now[0] += 10

        def on_validation_start(self):
            now[0] += 1000
            steps.append(self.global_step)

    quiet(tmp_path, max_epochs=2, val_check_interval=form).fit(Watch(), loader(), loader(4))
    assert steps == [3, 6, 9, 12]
    steps.clear()
    trainer = quiet(tmp_path, max_epochs=3, val_check_interval=form, check_val_every_n_epoch=2)
    trainer.fit(Watch(), loader(), loader(4))
    assert steps == [7, 10]


def test_intervals_without_a_length(tmp_path):
    """S154, C14, S234: an int counts batches across epochs, whatever they turn out to have; a
    share is an error that says what to give."""
    steps = []

    class Watch(Toy):
        def on_validation_start(self):
            steps.append(self.global_step)

    stream = DataLoader(Stream(), batch_size=2)  # 5 batches
    quiet(tmp_path, max_epochs=4, val_check_interval=8).fit(Watch(), stream, loader(4))
    assert steps == [8, 16]
    for options in ({"val_check_interval": 0.25}, {"limit_train_batches": 0.25}):
        with pytest.raises(MisconfigurationException, match=r"unknown; give.*\(an int\)"):
            quiet(tmp_path, **options).fit(Toy(), stream, loader(4))


def test_time_is_up(tmp_path, capsys):
    """C5: max_time in each of its forms; it ends the training after a step, and the time of the
    run that a checkpoint goes on from counts."""
    forms = ("01:02:03:04", {"days": 1, "hours": 2, "minutes": 3, "seconds": 4})
    same = timedelta(days=1, hours=2, minutes=3, seconds=4)
    for form in (*forms, same):
        trainer = quiet(tmp_path, max_time=form)
        assert trainer._settings.fit.max_time == same
        (timer,) = [c for c in trainer.callbacks if isinstance(c, Timer)]
        assert timer.time_remaining() == same.total_seconds()
    now = [0.0]

    class Slow(Toy):
        def training_step(self, batch, batch_idx):
            now[0] += 10
            return super().training_step(batch, batch_idx)

    def timer(**options):
        return Timer({"seconds": 35}, clock=lambda: now[0], **options)

    path = tmp_path / "cut.ckpt"
    trainer = quiet(tmp_path, max_epochs=9, callbacks=timer(), max_steps=2)
    trainer.fit(Slow(), loader())
    trainer.save_checkpoint(path)
    trainer = quiet(tmp_path, max_epochs=9, callbacks=timer())
    trainer.fit(Slow(), loader(), ckpt_path=path)
    assert trainer.global_step == 4
    assert "Time limit reached (0:00:35), elapsed time is 0:0" in capsys.readouterr().err
    trainer.save_checkpoint(path)
    trainer.fit(Slow(), loader(), ckpt_path=path)
    assert trainer.global_step == 4  # there is no time left for another step
    epochs = timer(interval="epoch", verbose=False)
    trainer = quiet(tmp_path, max_epochs=9, callbacks=epochs)
    trainer.fit(Slow(), loader())
    assert (trainer.global_step, epochs.time_elapsed()) == (6, 60)
    assert epochs.end_time("fit") - epochs.start_time("fit") == 60
    for wrong in ("1 hour", {"moments": 1}, 12):
        with pytest.raises(MisconfigurationException, match="DD:HH:MM:SS"):
            Trainer(max_time=wrong)
        with pytest.raises(MisconfigurationException, match="DD:HH:MM:SS"):
            Timer(wrong)


def test_all_ranks_stop_at_one_step(run_ranks):
    """C5: with max_time, though their clocks differ; rank zero's counts."""
    results = run_ranks(
        """
import json, os, sys, time
from tests.engine.support.toy import Toy, loader, quiet
from engine.callbacks import Timer
from engine import LightningModule
behind = 1000 * int(os.environ["RANK"])
now = [behind]
class Slow(Toy):
    def training_step(self, batch, batch_idx):
        now[0] += 1 + behind / 1000
        return super().training_step(batch, batch_idx)
timer = Timer({"seconds": 40}, clock=lambda: now[0])
trainer = quiet(os.getcwd(), max_epochs=50, callbacks=timer)
trainer.fit(Slow(), loader(), loader())
json.dump(trainer.global_step, open(sys.argv[1], "w"))
"""
    )
    assert results[0] == results[1]
    assert 40 <= results[0] <= 45


def test_barebones(tmp_path, capsys):
    """C5: no logs, files, bar, summary or sanity check; what contradicts it is refused."""
    trainer = Trainer(barebones=True, max_epochs=1, default_root_dir=tmp_path)
    trainer.fit(Toy(), loader(), loader())
    assert (trainer.global_step, trainer.callbacks, trainer.loggers) == (6, [], [])
    assert not files(tmp_path) and not capsys.readouterr().err
    for name in ("enable_checkpointing", "logger", "profiler", "fast_dev_run"):
        with pytest.raises(MisconfigurationException, match=name):
            Trainer(barebones=True, **{name: True})


def test_the_promises_of_a_trainer(tmp_path):
    """S189: ten epochs of made-up data leave a checkpoint and metrics, in less code than a loop."""

    class Small(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch, batch_idx):
            return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.training_step(batch, batch_idx))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.1)

    stop = EarlyStopping("val_loss", patience=100)
    trainer = Trainer(default_root_dir=tmp_path, **{**PLAIN, "max_epochs": 10}, callbacks=[stop])
    trainer.fit(Small(), loader(), loader())
    assert trainer.current_epoch == 10
    assert trainer.callback_metrics["val_loss"] < 0.69
    assert Path(trainer.checkpoint_callback.best_model_path).exists()
