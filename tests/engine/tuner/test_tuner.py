"""The tuner: what it finds, and that it leaves no trace."""

from __future__ import annotations

import json
import random
import sys
import types

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from engine import LightningDataModule, Trainer, seed_everything
from engine.callbacks import (
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from engine.runtime.coordination.signals import preemption
from engine.runtime.errors import MisconfigurationException, Preempted
from engine.runtime.seed import random_state
from engine.runtime.storage.run_folder import coming_ordinal
from engine.tuner import Tuner
from engine.tuner.memory import is_out_of_memory
from tests.engine.support.toy import Toy, loader, quiet, samples, weights


class Traced(Toy):
    """A module whose trials would leave all kinds of traces."""

    validation_step = None

    def __init__(self, lr=0.1, batch_size=4):
        super().__init__(dropout=0.5)
        self.lr = lr
        self.batch_size = batch_size
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.ones(2))
        self.generator = torch.Generator().manual_seed(5)
        self.mixed = {"numbers": [1, 2], "draws": np.random.default_rng(3)}
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr)

    def forward(self, x):
        return self.norm(self.net(x)) * self.mask

    def train_dataloader(self):
        return DataLoader(samples(), batch_size=self.batch_size, shuffle=True)

    def training_step(self, batch, batch_idx):
        self.mixed["numbers"].append(random.random() + np.random.rand())
        self.mixed["draws"].random()
        self.mask[0] += torch.rand((), generator=self.generator).item() * 0.01
        self.logger and self.logger.experiment.add_scalar("loss", 1.0)
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        optimizer = self.optimizer  # made but once: its state must be put back, too
        optimizer.param_groups[0]["lr"] = self.lr
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "train_loss"}


def trained(folder, module, tune, **options):
    """The module after a fit, with or without a tune before; and everything that drew."""
    seed_everything(11, verbose=False)
    seen = []

    class Watch(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_train"):
                seen.append(name)
            return super().__getattribute__(name)

    trainer = quiet(folder, max_epochs=2, logger=True, enable_checkpointing=True, **options)
    trainer.callbacks.append(Watch())
    if tune:
        found = trainer.tune(module)
        assert found and not seen and not list(folder.iterdir())
        assert (trainer.global_step, trainer.current_epoch, trainer.state.fn) == (0, 0, None)
        assert module._trainer is None and module.training
    trainer.fit(module)
    return weights(module), module, random_state(), sorted(folder.rglob("*.ckpt"))


def same(one, other):
    return json.dumps(one, default=lambda t: t.tolist()) == json.dumps(
        other, default=lambda t: t.tolist()
    )


def test_a_fit_after_a_tune_is_the_fit_without_one(tmp_path):
    """S120, S169, S172, S265: both searches run, and only the two values that they found stay:
    weights, buffers, attributes, random numbers, files and the trainer are to the last bit as
    before."""
    options = {"auto_lr_find": True, "auto_scale_batch_size": "binsearch"}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    after = trained(tmp_path / "a", Traced(), True, **options)
    found = after[1]
    assert found.lr != 0.1 and found.hparams.lr == found.lr
    assert found.batch_size == found.hparams.batch_size == 24
    plain = Traced()
    plain.lr, plain.batch_size = found.lr, found.batch_size
    without = trained(tmp_path / "b", plain, False, **options)
    assert torch.equal(after[0], without[0])
    assert found.mixed["numbers"] == plain.mixed["numbers"] and found.seen == plain.seen
    assert torch.equal(found.mask, plain.mask) and torch.equal(
        found.norm.running_var, plain.norm.running_var
    )
    assert same(after[2], without[2])
    assert [p.name for p in after[3]] == [p.name for p in without[3]]


def test_without_a_wish_nothing_is_tuned(tmp_path):
    """S120: tune does nothing when neither search is asked for, or in a fast_dev_run."""
    model = Traced()
    before = weights(model)
    with pytest.warns(UserWarning, match="does nothing"):
        assert quiet(tmp_path).tune(model) == {}
    trial = quiet(tmp_path, auto_lr_find=True, auto_scale_batch_size=True, fast_dev_run=True)
    assert trial.tune(model) == {}
    assert torch.equal(before, weights(model)) and model.lr == 0.1


def test_which_name_is_set(tmp_path):
    """S169: `lr` or `learning_rate`, in the module or its hparams, or the name that is given,
    dotted too; an unknown name is an error that shows the nearest."""

    class Named(Toy):
        def __init__(self, learning_rate=0.1):
            super().__init__()
            del self.hparams["lr"]
            self.save_hyperparameters()
            self.options = types.SimpleNamespace(rate=0.5)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams.learning_rate)

    model, few = Named(), {"num_training": 30}
    trainer = quiet(tmp_path, auto_lr_find=True)
    compiled = torch.compile(model, backend="eager")
    found = trainer.tune(compiled, loader(), lr_find_kwargs=few)["lr_find"]
    assert "training_step" not in vars(model) and "configure_optimizers" not in vars(model)
    assert model.hparams.learning_rate == found.suggestion() != 0.1
    dotted = quiet(tmp_path, auto_lr_find="options.rate").tune(model, loader(), lr_find_kwargs=few)
    assert model.options.rate == dotted["lr_find"].suggestion() != 0.5
    with pytest.raises(MisconfigurationException, match="did you mean 'learning_rate'"):
        quiet(tmp_path, auto_lr_find="learning_rat").tune(model, loader())
    del model.hparams["learning_rate"]
    with pytest.raises(MisconfigurationException, match="`lr` or `learning_rate`"):
        quiet(tmp_path, auto_lr_find=True).tune(model, loader())


def test_the_searches_by_hand(tmp_path, monkeypatch):
    """S169: `trainer.tuner.lr_find` only finds, `Tuner(trainer)` of 2.x sets; a plot is drawn if
    matplotlib is there, and says so if not."""
    model, trainer = Traced(), quiet(tmp_path)
    found = trainer.tuner.lr_find(model, min_lr=1e-5, max_lr=10.0, num_training=40)
    assert model.lr == 0.1 and len(found.results["lr"]) == len(found.results["loss"]) <= 40
    assert found.results["lr"][0] == 1e-5
    assert found.suggestion(skip_begin=100) is None
    assert Tuner(trainer).lr_find(model, num_training=40).suggestion() == model.lr
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        found.plot()
    drawn = []

    class Axes:
        def __getattr__(self, name):
            return lambda *args, **kwargs: drawn.append((name, args))

    pyplot = types.ModuleType("matplotlib.pyplot")
    pyplot.subplots = lambda: ("figure", Axes())
    monkeypatch.setitem(sys.modules, "matplotlib", types.ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    assert found.plot(suggest=True) == "figure"
    assert ("set_xscale", ("log",)) in drawn
    assert drawn[-1][1][0] == found.suggestion()


class Hungry(Traced):
    """Has memory for so many samples, and says what torch says where there is none."""

    room = 10
    words = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"

    def training_step(self, batch, batch_idx):
        if len(batch[0]) > self.room:
            raise RuntimeError(self.words)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("mode", "best"), [(True, 8), ("power", 8), ("binsearch", 10)])
def test_memory_that_runs_out_is_found_and_survived(tmp_path, mode, best):
    """S172: the largest size that fits is set where it lives, also in a data module; weights are
    as before."""

    class Data(LightningDataModule):
        def __init__(self, batch_size=2):
            super().__init__()
            self.save_hyperparameters()

        @property
        def batch_size(self):
            return self.hparams.batch_size

        def train_dataloader(self):
            return DataLoader(samples(), batch_size=self.batch_size)

    class Model(Hungry):
        train_dataloader = None

        def __init__(self):
            super().__init__()
            del self.hparams["batch_size"], self.batch_size

    model, data = Model(), Data()
    before = weights(model)
    found = quiet(tmp_path, auto_scale_batch_size=mode).tune(model, datamodule=data)
    assert found == {"scale_batch_size": best}
    assert data.batch_size == best and torch.equal(before, weights(model))
    assert model.seen == []


def test_what_no_search_can_change_is_said(tmp_path):
    """S172: a loader that was given, one that does not use the name, and other errors."""
    trainer = quiet(tmp_path, auto_scale_batch_size=True)
    with pytest.raises(MisconfigurationException, match="was given can't be changed"):
        trainer.tune(Traced(), loader())

    class Fixed(Traced):
        def train_dataloader(self):
            return loader()

    with pytest.raises(MisconfigurationException, match=r"let it use self\.batch_size"):
        trainer.tune(Fixed())
    with pytest.raises(MisconfigurationException, match="has no `batch_size`"):
        trainer.tune(Toy())

    class Broken(Hungry):
        words = "a mistake"
        room = 0

    with pytest.raises(RuntimeError, match="a mistake"):
        trainer.tune(Broken())
    Broken.words = "CUDA out of memory."
    with pytest.raises(MisconfigurationException, match="not even one sample"):
        trainer.tune(Broken())


def test_how_a_lack_of_memory_shows():
    """S172: CUDA's, the CPU's and Python's own words; nothing else is taken for it."""
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError(Hungry.words))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


RANKS = """
import json, sys
import torch
from torch.utils.data import DataLoader
from engine import Trainer, seed_everything
from tests.engine.tuner.test_tuner import Traced, samples, weights

class Uneven(Traced):
    def training_step(self, batch, batch_idx):
        if self.trainer.global_rank == 1 and len(batch[0]) > 5:
            raise RuntimeError("CUDA out of memory.")
        self.log("shared", 1.0, sync_dist=True)
        loss = super().training_step(batch, batch_idx)
        return loss * (1 + self.trainer.global_rank)

def trainer_for():
    return Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        auto_lr_find=True, auto_scale_batch_size="binsearch")

model, plain, trainer = Uneven(), Uneven(), trainer_for()
seed_everything(8, verbose=False)
before = weights(model)
found = trainer.tune(model, lr_find_kwargs={"num_training": 30})
same = bool(torch.equal(before, weights(model)))
trainer.fit(model)
seed_everything(8, verbose=False)
plain.lr, plain.batch_size = model.lr, model.batch_size
trainer_for().fit(plain)
same = same and bool(torch.equal(weights(plain), weights(model)))
json.dump([found["scale_batch_size"], model.lr, found["lr_find"].results["loss"], same,
    weights(model).tolist()], open(sys.argv[1], "w"))
"""


def test_two_ranks_find_the_same(run_ranks):
    """S169, S172: memory that runs out on one rank only is agreed on by both, the suggested
    learning rate is one, and both train on together, to the last bit as without a tune."""
    one, other = run_ranks(RANKS)
    assert one == other
    assert one[0] == 5 and one[1] != 0.1 and one[3]


def test_a_run_folder_is_that_of_the_fit(tmp_path, monkeypatch):
    """S120: under a launcher a tune takes no fit's folder, reports no step, and keeps nothing; a
    second one after the fit leaves the fit's state alone."""
    monkeypatch.setenv("PLAUNCH_RUN_DIR", str(tmp_path))
    before = coming_ordinal()
    trainer = Trainer(
        max_epochs=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        auto_lr_find=True,
        callbacks=StochasticWeightAveraging(0.1, 1),
    )
    model = Traced()
    trainer.tune(model)
    assert coming_ordinal() == before and list(tmp_path.iterdir()) == []
    trainer.fit(model)
    assert [p.name for p in tmp_path.iterdir()] == [f"fit-{before}"]
    seen = (trainer.global_step, dict(trainer.callback_metrics), weights(model).tolist())
    trainer.tune(model)
    assert seen == (trainer.global_step, dict(trainer.callback_metrics), weights(model).tolist())
    assert model.trainer is trainer and trainer.lightning_module is model


def test_a_process_that_makes_room_leaves_a_search(tmp_path):
    """S120: told to make room in a trial, it saves nothing and goes, with all put back."""

    class Told(Traced):
        def training_step(self, batch, batch_idx):
            if self.global_step == 3:
                preemption.signal = "SIGTERM"
            return super().training_step(batch, batch_idx)

    model = Told()
    before = weights(model)
    with pytest.raises(Preempted):
        quiet(tmp_path, auto_lr_find=True).tune(model)
    assert torch.equal(before, weights(model)) and list(tmp_path.iterdir()) == []


def test_a_divided_model_is_not_tuned(tmp_path):
    """S172, S169: where the ranks divide the model, a sentence says what to use."""
    trainer = quiet(tmp_path, auto_lr_find=True)
    trainer.strategy.holds_all = False
    with pytest.raises(MisconfigurationException, match="strategy='ddp'"):
        trainer.tune(Traced())


def test_searches_as_callbacks(tmp_path):
    """S169, S172: those of 2.x look at the beginning of a fit, which then is the fit with what
    they found, to the last bit."""
    found, plain = Traced(), Traced()
    seed_everything(11, verbose=False)
    finders = [BatchSizeFinder("binsearch"), LearningRateFinder(num_training_steps=40)]
    quiet(tmp_path, max_epochs=2, callbacks=finders).fit(found)
    assert finders[0].optimal_batch_size == found.batch_size == 24
    assert finders[1].optimal_lr.suggestion() == found.lr != 0.1
    plain.lr, plain.batch_size = found.lr, found.batch_size
    seed_everything(11, verbose=False)
    quiet(tmp_path, max_epochs=2).fit(plain)
    assert torch.equal(weights(plain), weights(found))
    model = Traced()
    quiet(tmp_path, fast_dev_run=True, callbacks=finders).fit(model)
    assert model.lr == 0.1 and model.batch_size == 4
