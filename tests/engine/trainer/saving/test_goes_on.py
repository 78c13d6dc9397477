"""A run that goes on from any moment of a fit ends as the one that nobody interrupted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from engine import Callback, LightningModule
from engine.callbacks import EarlyStopping, ModelCheckpoint, OnExceptionCheckpoint
from engine.loggers import MemoryLogger
from engine.runtime.coordination.signals import preemption
from engine.runtime.errors import Preempted
from tests.engine.support.toy import quiet, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:the checkpoint holds states of callbacks"),
    pytest.mark.filterwarnings("ignore:the scheduler looks at 'val', which was not logged"),
]

BATCHES, EPOCHS = 4, 3
DATA = torch.linspace(-1, 1, BATCHES).reshape(-1, 1)


class Net(LightningModule):
    """One weight; plateau schedulers by step and by epoch follow what validation and steps say."""

    def __init__(self, automatic: bool = True) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))
        self.dropout = torch.nn.Dropout(0.5)
        self.automatic_optimization = automatic
        self.journal: list[Any] = []

    def training_step(self, batch, batch_idx):
        self.note("train", self.w.item())
        loss = (self.w * self.dropout(batch + 2)).square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True)
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return None

    def validation_step(self, batch, batch_idx):
        self.log("val", 50.0 + self.global_step // 3)

    def note(self, what, *values):
        self.journal.append((what, self.global_step, *values))

    def on_validation_end(self):
        if not self.trainer.sanity_checking:
            self.note("validated", float(self.trainer.callback_metrics["val"]))

    def lr_scheduler_step(self, scheduler, optimizer_idx, metric):
        self.note("asked", scheduler.factor, float(metric))
        scheduler.step(metric)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

        def plan(factor, monitor, **more):
            kind = torch.optim.lr_scheduler.ReduceLROnPlateau
            scheduler = kind(optimizer, patience=0, factor=factor)
            return {"scheduler": scheduler, "monitor": monitor, "strict": False, **more}

        return [optimizer], [
            plan(0.9, "val"),
            plan(0.8, "loss"),
            plan(0.7, "val", interval="step", frequency=2),
        ]


class SavesAll(Callback):
    """Saves in every hook that there is; `cuts` has the length of the journal then."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cuts, self.began = folder, {}, 0

    def save(self, trainer, module, where, cut=None):
        name = f"{where}-{trainer.global_step}"
        if not trainer.sanity_checking and name not in self.cuts:
            self.cuts[name] = len(module.journal) if cut is None else cut
            trainer.save_checkpoint(self.folder / f"{name}.ckpt")

    def on_train_batch_end(self, trainer, module, *_):
        self.save(trainer, module, "batch")

    def on_validation_start(self, trainer, module):
        self.began = len(module.journal)
        self.save(trainer, module, "start")

    def on_validation_batch_end(self, trainer, module, *_):
        self.save(trainer, module, "within", self.began)

    def on_validation_epoch_end(self, trainer, module):
        self.save(trainer, module, "metrics", self.began)

    def on_train_epoch_end(self, trainer, module):
        self.save(trainer, module, "epoch")


class SavesAfter(SavesAll):
    """The same once the other callbacks have had their turn."""

    monitor = None
    on_train_batch_end = on_validation_start = on_validation_batch_end = Callback.on_validation_end
    on_validation_epoch_end = on_train_epoch_end = Callback.on_validation_end

    def on_validation_end(self, trainer, module):
        self.save(trainer, module, "validated")


FORMS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "half": {"val_check_interval": 0.5},
    "number": {"val_check_interval": 3},
    "over epochs": {"val_check_interval": 3, "check_val_every_n_epoch": None},
    "steps": {"val_check_interval": "2opt"},
    "every second": {"check_val_every_n_epoch": 2},
    "none": {"limit_val_batches": 0},
}


def data():
    return DataLoader(DATA), DataLoader(DATA[:2])


def fit(folder, form, *callbacks, automatic=True, checkpoint=None, **more):
    torch.manual_seed(5)
    module, logger = Net(automatic), MemoryLogger()
    stops = [EarlyStopping(name, patience=99, strict=False) for name in ("val", "loss")]
    options = {"max_epochs": EPOCHS, "logger": logger, **FORMS[form], **more}
    trainer = quiet(folder, callbacks=[*callbacks, *stops], **options)
    trainer.fit(module, *data(), ckpt_path=checkpoint)
    return trainer, module, logger


def state(trainer, module, logger):
    """All that a fit leaves behind."""
    return {
        "weights": weights(module).tolist(),
        "lr": trainer.optimizers[0].param_groups[0]["lr"],
        "momentum": trainer.optimizers[0].state_dict()["state"][0]["momentum_buffer"].tolist(),
        "schedulers": [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs],
        "stops": [one.state_dict() for one in trainer.early_stopping_callbacks],
        "steps": (trainer.global_step, trainer.current_epoch),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
    }


@pytest.mark.parametrize("automatic", [True, False], ids=["automatic", "manual"])
@pytest.mark.parametrize("form", FORMS)
def test_from_any_hook_it_goes_on_as_if_nothing_had_been(tmp_path, form, automatic):
    """Weights, rates, stopping and all that was validated, asked and logged are the same, wherever
    a checkpoint was written: nothing due is left out, done twice or done with an older value.
    """
    before, after = SavesAll(tmp_path), SavesAfter(tmp_path)
    whole = fit(tmp_path, form, before, after, automatic=automatic)
    cuts = {**before.cuts, **after.cuts}
    if not automatic:  # the same mechanism: where an epoch ends is enough
        cuts = {name: cut for name, cut in cuts.items() if name.endswith(f"-{BATCHES}")}
    assert len(cuts) > (3 if automatic else 1)
    for name, cut in cuts.items():
        path = tmp_path / f"{name}.ckpt"
        again = fit(tmp_path, form, automatic=automatic, checkpoint=path)
        assert again[1].journal == whole[1].journal[cut:], name
        assert state(*again) == state(*whole), name
        rows = again[2].rows
        assert rows == (whole[2].rows[-len(rows) :] if rows else []), name


class Raises(Callback):
    """Breaks a fit once, in one of the hooks, by an exception or by being told to make room."""

    def __init__(self, hook: str, step: int, told: bool = False) -> None:
        def broken(trainer, *_):
            if trainer.global_step == step and not trainer.sanity_checking:
                setattr(self, hook, lambda *_: None)
                if not told:
                    raise RuntimeError("broken")
                preemption.signal = "SIGUSR1"

        setattr(self, hook, broken)


PLACES = {
    "before a batch": ("on_train_batch_start", 6),
    "after the last": ("on_train_batch_end", BATCHES),
    "before validation": ("on_validation_start", BATCHES),
    "in validation": ("on_validation_batch_end", BATCHES),
    "after an epoch": ("on_train_epoch_end", BATCHES),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("told", [False, True], ids=["exception", "preempted"])
def test_after_an_end_that_nobody_planned(tmp_path, place, told):
    """An exception, or a signal that comes there, leaves a checkpoint from which all goes on."""
    callbacks = [Raises(*PLACES[place], told), OnExceptionCheckpoint(tmp_path)]
    keeps = ModelCheckpoint(tmp_path / "kept", save_top_k=0)
    whole = fit(tmp_path, "half")
    with pytest.raises(Preempted if told else RuntimeError):
        fit(tmp_path, "half", *callbacks, keeps, enable_checkpointing=True)
    preemption.signal = None
    left = (
        list((tmp_path / "kept").glob("preempted-*")) if told else [tmp_path / "on_exception.ckpt"]
    )
    again = fit(tmp_path, "half", checkpoint=left[0])
    assert state(*again) == state(*whole)


@pytest.mark.parametrize(
    "trigger",
    [
        {"every_n_train_steps": 2},
        {"train_time_interval": timedelta(microseconds=1)},
        {"every_n_train_steps": 2, "monitor": "val"},
    ],
    ids=["steps", "time", "monitored"],
)
def test_from_each_file_that_is_kept(tmp_path, trigger):
    """By steps, by time, or once a step's metric is there: from each file the run goes on, and
    keeps the files that it would have kept.
    """

    def keeps(name):
        return ModelCheckpoint(
            tmp_path / name,
            filename="{step}",
            save_top_k=-1,
            enable_version_counter=False,
            **trigger,
        )

    whole = fit(tmp_path, "epochs", keeps("whole"), enable_checkpointing=True)
    files = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert len(files) > 2
    for name in files:
        mine = keeps(f"from {name}")
        path = tmp_path / "whole" / name
        again = fit(tmp_path, "epochs", mine, checkpoint=path, enable_checkpointing=True)
        assert state(*again) == state(*whole), name
        assert Path(mine.dirpath).exists() is (name != "step=12.ckpt")


# ---------------------------------------------------------------------- stopped within an epoch


class Stops(Callback):
    """Asks to stop once, after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.step


@pytest.mark.parametrize(
    ("form", "why"),
    # A request to stop validates at once, so that a whole run must do so there, too.
    [("epochs", "max_steps"), ("number", "max_steps"), ("number", "should_stop")],
)
@pytest.mark.parametrize("place", ["epoch", "end", "afterwards"])
def test_a_training_that_was_stopped_within_an_epoch_goes_on_there(tmp_path, form, place, why):
    """With more steps it takes the next batch: the end is that of one run, whichever checkpoint of
    the stop it goes on from; the stop itself adds to no scheduler and no patience.
    """
    path, step = tmp_path / "stopped.ckpt", 7

    class Keeps(Callback):
        def on_train_epoch_end(self, trainer, module):
            if place == "epoch" and trainer.global_step == step:
                trainer.save_checkpoint(path)

        def on_train_end(self, trainer, module):
            if place == "end":
                trainer.save_checkpoint(path)

    whole = fit(tmp_path, form)
    stop = {"max_steps": step} if why == "max_steps" else {}
    callbacks = [Keeps()] if stop else [Keeps(), Stops(step)]
    trainer, *_ = fit(tmp_path, form, *callbacks, **stop)
    assert (trainer.global_step, trainer.current_epoch) == (step, 2)
    if place == "afterwards":
        trainer.save_checkpoint(path)
    again = fit(tmp_path, form, checkpoint=path)
    cut = [entry[:2] for entry in whole[1].journal].index(("train", step))
    assert again[1].journal == whole[1].journal[cut:]
    assert state(*again) == state(*whole)
    assert again[2].rows == whole[2].rows[-len(again[2].rows) :]


class Plain(Net):
    """Nothing that a second fit would make anew but the weight."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_same_trainer_goes_on_in_the_epoch_too(tmp_path):
    """Fitted once more with a raised limit it takes the next batch, in the same order; another
    module, other data or a counter that was set begin an epoch at its first batch.
    """
    loader = DataLoader(torch.linspace(-1, 1, 6).reshape(-1, 1), shuffle=True)
    torch.manual_seed(1)
    whole, module = Plain(), Plain()
    quiet(tmp_path, max_epochs=3, max_steps=14).fit(whole, loader, *data()[1:])
    torch.manual_seed(1)
    trainer = quiet(tmp_path, max_epochs=3, max_steps=4)
    trainer.fit(module, loader, *data()[1:])
    for steps in (6, 9, 14):
        trainer.fit_loop.max_steps = steps
        trainer.fit(module, loader, *data()[1:])
    names = [[entry[:2] for entry in one.journal if entry[0] == "train"] for one in (whole, module)]
    assert names[0] == names[1]
    assert (trainer.global_step, trainer.current_epoch) == (14, 3)

    def first(reset, *given):
        trainer = quiet(tmp_path, max_epochs=9, max_steps=2)
        trainer.fit(module, *data())
        reset(trainer)
        trainer.fit_loop.max_steps = 3
        trainer.fit(*given)
        return trainer.fit_loop.epoch_loop.total_batch_idx, trainer.state.progress.rest

    def nothing(trainer):
        pass

    assert first(nothing, module, *data()) == (3, 3)
    assert first(nothing, Plain(), *data()) == (3, 1)
    assert first(nothing, module, loader, *data()[1:]) == (3, 1)
    assert first(lambda t: setattr(t, "current_epoch", 0), module, *data()) == (3, 1)


RANKS = """
import json, sys
from pathlib import Path
from tests.engine.trainer.saving.test_goes_on import *

ranks = {"strategy": "ddp", "devices": 2}
found = {}
for form in ("epochs", "half"):
    before, after = SavesAll(Path(form)), SavesAfter(Path(form))
    whole = fit(".", form, before, after, **ranks)
    for name, cut in {**before.cuts, **after.cuts}.items():
        if name.endswith("-4"):  # the last step of the second epoch
            again = fit(".", form, checkpoint=Path(form) / f"{name}.ckpt", **ranks)
            same = again[1].journal == whole[1].journal[cut:] and state(*again) == state(*whole)
            found[f"{form}, {name}"] = same
whole = fit(".", "number", max_epochs=3, **ranks)
trainer = fit(".", "number", max_steps=3, **ranks)[0]
trainer.save_checkpoint("stopped.ckpt")
again = fit(".", "number", checkpoint="stopped.ckpt", **ranks)
found["stopped"] = state(*again) == state(*whole)
json.dump(found, open(sys.argv[1], "w"))
"""


def test_ranks_go_on_as_one_does(run_ranks):
    """From what was saved in any hook around an epoch's last step, or by a stop within an epoch."""
    for found in run_ranks(RANKS):
        assert len(found) >= 13 and set(found.values()) == {True}, found
