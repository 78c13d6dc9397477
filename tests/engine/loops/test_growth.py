"""Nothing grows with the number of steps, whatever takes part in a run."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
import weakref
from datetime import timedelta

import psutil
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from engine import callbacks, loggers, profilers
from engine.callbacks import Callback
from engine.callbacks.monitors import lr_monitor
from engine.profilers import simple
from engine.runtime.storage import checkpoint
from tests.engine.support.kept import grown, lengths_of_engine
from tests.engine.support.toy import Toy, quiet
from tests.engine.support.toy import loader as toy_loader

N = 15  # steps of an epoch; the other run has ten times as many
SOME = 25  # by so much may a length differ: what waits to be written is written now and then


class Terminal:
    """A terminal that nobody looks at."""

    def isatty(self):
        return True

    def write(self, text):
        return len(text)

    def flush(self):
        pass


def sample(index):
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(4, generator=generator)
    return x, int(x.sum() > 0), index


class Endless(Dataset):
    """Samples that are made when they are wanted."""

    def __len__(self):
        return 80 * N

    def __getitem__(self, index):
        return sample(index)


class Stream(IterableDataset):
    def __iter__(self):
        return map(sample, range(80 * N))


class Model(Toy):
    """Logs in all ways, and notes nothing."""

    def __init__(self, data, many_loaders):
        super().__init__()
        self.data, self.many_loaders = data, many_loaders
        self.backbone, self.head = self.net[0], self.net[3]
        self.batch_size = 1

    def train_dataloader(self):
        one = DataLoader(self.data(), self.batch_size)
        return {"a": one, "b": DataLoader(Endless(), 2)} if self.many_loaders else one

    def val_dataloader(self):
        loaders = [DataLoader(self.data()), DataLoader(Endless())]
        return loaders if self.many_loaders else loaders[0]

    def predict_dataloader(self):
        return DataLoader(self.data())

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch["b"] if self.many_loaders else batch)
        self.log("a", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("b", loss, reduce_fx="max", on_epoch=True)
        self.log_dict({"c": float(batch_idx), "d": loss.detach()}, on_step=False, on_epoch=True)
        return {"loss": loss, "extra": loss * 2}

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        loss = self.loss(batch)
        self.log("val_loss", loss, on_step=True, on_epoch=True)
        return loss, batch

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.last = outputs

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, self.parameters()), 0.001)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 100)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Manual(Model):
    """Steps by hand."""

    def __init__(self, data, many_loaders):
        super().__init__(data, many_loaders)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        output, optimizer = super().training_step(batch, batch_idx), self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(output["loss"])
        optimizer.step()
        self.lr_schedulers().step()
        return output


class Two(Model):
    """With two optimizers, of which one is used twice as often."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        one = torch.optim.SGD(self.backbone.parameters(), 0.01, momentum=0.9)
        two = torch.optim.Adam(self.head.parameters(), 0.01)
        return {"optimizer": one, "frequency": 1}, {"optimizer": two, "frequency": 2}


class Looks(Callback):
    """Notes what is kept at the last step of training, of validation and of prediction."""

    def __init__(self):
        self.found = {}

    def look(self, where, trainer):
        gc.collect()
        self.found[where] = lengths_of_engine((self, DataLoader), trainer=trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, *_):
        if batch_idx + 1 == trainer.num_training_batches:
            self.look(f"training, epoch {trainer.current_epoch}", trainer)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, *_):
        if batch_idx + 1 == trainer.num_val_batches[0] and not trainer.sanity_checking:
            self.look(f"validation, {trainer.state.fn}", trainer)

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, *_):
        if batch_idx + 1 == trainer.num_predict_batches[0]:
            self.look("prediction", trainer)


KINDS = {
    "BackboneFinetuning": lambda f: callbacks.BackboneFinetuning(1),
    "BaseFinetuning": None,  # a base
    "BasePredictionWriter": None,  # a base
    "BatchSizeFinder": lambda f: callbacks.BatchSizeFinder(max_trials=2),
    "DeviceStatsMonitor": lambda f: callbacks.DeviceStatsMonitor(),
    "EMAWeightAveraging": lambda f: callbacks.EMAWeightAveraging(),
    "EarlyStopping": lambda f: callbacks.EarlyStopping("val_loss", patience=10**6),
    "GPUStatsMonitor": lambda f: callbacks.GPUStatsMonitor(),
    "GradientAccumulationScheduler": lambda f: callbacks.GradientAccumulationScheduler({1: 2}),
    "LambdaCallback": lambda f: callbacks.LambdaCallback(on_train_batch_end=lambda *_: None),
    "LearningRateFinder": lambda f: callbacks.LearningRateFinder(num_training_steps=20),
    "LearningRateMonitor": lambda f: callbacks.LearningRateMonitor("step", log_momentum=True),
    "ModelCheckpoint": lambda f: callbacks.ModelCheckpoint(
        f, monitor="a", save_top_k=2, save_last=True, every_n_train_steps=10
    ),
    "ModelPruning": lambda f: callbacks.ModelPruning("l1_unstructured", amount=0.1),
    "ModelSummary": lambda f: callbacks.ModelSummary(),
    "OnExceptionCheckpoint": lambda f: callbacks.OnExceptionCheckpoint(f),
    "PredictionWriter": lambda f: callbacks.PredictionWriter(f / "out.jsonl"),
    "PrintTableMetricsCallback": lambda f: callbacks.PrintTableMetricsCallback(),
    "ProgressBar": lambda f: callbacks.ProgressBar(stream=Terminal(), refresh_s=0.0),
    "ProgressBarBase": None,  # a base
    "QuantizationAwareTraining": None,  # refused
    "RichProgressBar": None,  # a ProgressBar
    "StochasticWeightAveraging": lambda f: callbacks.StochasticWeightAveraging(0.001),
    "Timer": lambda f: callbacks.Timer(timedelta(hours=9)),
    "WeightAveraging": lambda f: callbacks.WeightAveraging(),
    "XLAStatsMonitor": None,  # refused
}
ALONE = (
    "BackboneFinetuning",
    "ModelPruning",
    "StochasticWeightAveraging",
    "WeightAveraging",
)
MANY = [name for name, make in KINDS.items() if make is not None and name not in ALONE]


def run(folder, batches, kind, names, profiler, data, many_loaders):
    """What is kept at the end of an epoch's parts, and behind the fit and what follows it."""
    looks, model = Looks(), kind(data, many_loaders)
    csv = loggers.CSVLogger(folder, flush_logs_every_n_steps=10)
    board = loggers.TensorBoardLogger(folder, max_queue=10)
    snapshot = loggers.CodeSnapshotLogger(folder, name="code", max_queue=10)
    trainer = quiet(
        folder,
        max_epochs=2,
        limit_train_batches=batches,
        limit_val_batches=batches,
        limit_predict_batches=batches,
        log_every_n_steps=1,
        logger=[csv, board, snapshot],
        profiler=profiler,
        callbacks=[*(KINDS[name](folder) for name in names), looks],
        enable_checkpointing="ModelCheckpoint" in names,
        track_grad_norm=2,
        terminate_on_nan=True,
        max_time="00:09:00:00",
        gradient_clip_val=None if kind is Manual else 1.0,
        num_sanity_val_steps=2,
    )
    trainer.fit(model)
    gc.collect()
    looks.found["after the fit"] = lengths_of_engine((looks, DataLoader), trainer=trainer)
    trainer.validate(model, verbose=False)
    trainer.predict(model, return_predictions=False)
    gc.collect()
    looks.found["at the end"] = lengths_of_engine((looks, DataLoader), trainer=trainer)
    return looks.found


RUNS = {
    "most callbacks": (Model, MANY, "simple", Endless, False),
    "manual": (Manual, ("WeightAveraging", "ModelPruning"), "advanced", Stream, False),
    "two optimizers": (
        Two,
        ("StochasticWeightAveraging",),
        "pytorch",
        Endless,
        True,
    ),
    "finetuning": (Model, ("BackboneFinetuning",), None, Stream, False),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", RUNS)
def test_nothing_grows_with_steps(tmp_path, monkeypatch, capsys, kind):
    """S031, S032: with everything that the engine has to take part in a run, no container, tensor,
    text or chain of objects is longer after ten times as many steps; what would be is named."""
    monkeypatch.setattr(lr_monitor, "KEPT", 20)  # what is kept within bounds is at its bound soon
    monkeypatch.setattr(simple, "MOST_DURATIONS", 20)
    monkeypatch.setattr(checkpoint, "_OWN_MOST", 20)
    few, many = (run(tmp_path / str(n), n, *RUNS[kind]) for n in (N, 10 * N))
    assert few.keys() == many.keys()
    found = {where: grown(few[where], many[where], SOME) for where in few}
    assert {where: names for where, names in found.items() if names} == {}


def test_ten_programs_leave_nothing(tmp_path, capsys):
    """After ten trainers in a process, two of which broke, there are no more open files, threads,
    processes and objects than after two, and none of the trainers and modules is there any more."""

    class Breaks(Toy):
        def validation_step(self, batch, batch_idx):
            raise ValueError("broken on purpose")

    def fit(number):
        model = Breaks() if number in {4, 7} else Toy()
        trainer = quiet(
            tmp_path,
            logger=[loggers.TensorBoardLogger(tmp_path), loggers.CSVLogger(tmp_path)],
            enable_checkpointing=True,
            enable_progress_bar=True,
            profiler="advanced" if number % 2 else "simple",
            log_every_n_steps=1,
            callbacks=[KINDS[n](tmp_path) for n in ("LearningRateMonitor", "PredictionWriter")],
        )
        data = toy_loader(num_workers=number % 3 == 0, persistent_workers=number == 3)
        try:
            trainer.fit(model, data, data)
            trainer.predict(model, data, return_predictions=False)
        except ValueError:
            assert isinstance(model, Breaks)
        return weakref.ref(trainer), weakref.ref(model)

    def there_are():
        gc.collect()
        while multiprocessing.active_children():  # torch 2.9 doesn't wait for all workers to end
            time.sleep(0.01)
        gc.collect()  # what the first one has ended lets go of its files
        process = psutil.Process()
        counts = [process.num_fds(), threading.active_count(), len(process.children())]
        return counts, len(gc.get_objects())

    gone, found = [], []
    for number in range(10):
        gone += fit(number)
        found.append(there_are())
    assert [one for one in gone if one() is not None] == []
    assert [counts for counts, _ in found[1:]] == [found[1][0]] * 9
    # Interpreter and libraries fill small caches now and then; a run has thousands of objects.
    assert found[9][1] - found[1][1] < 500


def test_all_callbacks_take_part():
    """Whoever adds a callback or a profiler adds it here."""
    names = {name for name in callbacks.__all__ if name not in {"Callback"}}
    others = {n for n in names if n not in KINDS and not is_same(n, KINDS)}
    assert others == set()
    assert set(MANY) | set(ALONE) == {name for name, make in KINDS.items() if make is not None}
    assert set(profilers.__all__) == {
        "AdvancedProfiler",
        "PassThroughProfiler",
        "Profiler",
        "PyTorchProfiler",
        "SimpleProfiler",
    }


def is_same(name, others):
    """Whether it is another name of one of them."""
    return any(getattr(callbacks, name) is getattr(callbacks, other) for other in others)
