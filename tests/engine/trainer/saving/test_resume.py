"""Checkpoints: what they hold, how they are read, and that a resumed run is the same run."""

from __future__ import annotations

import os
import random
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from engine import Callback, CheckpointError, LightningModule
from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.runtime.storage import checkpoint as files
from engine.runtime.storage.run_folder import Index
from tests.engine.support.toy import Toy, loader, quiet, samples, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


class Scheduled(Toy):
    """With a rate that changes, and a loss that draws from all random numbers that there are."""

    def loss(self, batch):
        return super().loss(batch) * (random.random() + np.random.rand()) / 2

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
        return [optimizer], [rate]


class SaveAt(Callback):
    """Saves once, after a batch or at the end of an epoch."""

    def __init__(self, path, step=None, epoch=None):
        self.path, self.step, self.epoch, self.counted = path, step, epoch, 0

    def state_dict(self):
        return {"counted": self.counted}

    def load_state_dict(self, state_dict):
        self.counted = state_dict["counted"]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.counted += 1
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("precision", [32, 16])
@pytest.mark.parametrize("moment", [{"epoch": 1}, {"step": 9}], ids=["epoch end", "mid epoch"])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, moment, precision):
    """S208: weights, samples, learning rate, callbacks and metrics go on bit for bit, with dropout,
    shuffling, random numbers of python and numpy, a scheduler and, in 16 bits, a scale of the loss,
    wherever the run was cut; the checkpoint is named as in 1.x or as in 2.x.
    """
    path = tmp_path / "cut.ckpt"
    whole, counter = Scheduled(dropout=0.5), SaveAt(path, **moment)
    torch.manual_seed(1)
    options = {"max_epochs": 4, "precision": precision}
    trainer = quiet(tmp_path, callbacks=counter, **options)
    trainer.fit(whole, loader(shuffle=True), loader())
    torch.manual_seed(99)  # another process would be anywhere
    resumed, second = Scheduled(dropout=0.5), SaveAt(path)
    if precision == 16:
        again = quiet(tmp_path, callbacks=second, resume_from_checkpoint=path, **options)
        again.fit(resumed, loader(shuffle=True), loader())
        scales = [t._run.precision.scaler.state_dict() for t in (trainer, again)]
        assert scales[0] == scales[1] and scales[0]["_growth_tracker"] == 24
    else:
        again = quiet(tmp_path, callbacks=second, **options)
        again.fit(resumed, loader(shuffle=True), loader(), ckpt_path=path)

    assert torch.equal(weights(whole), weights(resumed))
    assert whole.seen[-len(resumed.seen) :] == resumed.seen
    assert len(resumed.seen) == 24 * 4 - (9 * 4 if "step" in moment else 48)
    assert (again.global_step, again.current_epoch) == (24, 4)
    assert second.counted == counter.counted
    assert again.callback_metrics == trainer.callback_metrics
    rates = [t.optimizers[0].param_groups[0]["lr"] for t in (trainer, again)]
    assert rates == [0.05 * (1 / 5)] * 2  # it follows from the scheduler's own count of epochs


def test_a_checkpoint_has_lightnings_keys_and_no_code(tmp_path):
    """It is read with weights_only and holds what scripts look for."""
    trainer = quiet(tmp_path, callbacks=SaveAt(tmp_path / "a.ckpt", epoch=0))
    trainer.fit(Toy(), loader())
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert {"state_dict", "epoch", "global_step", "optimizer_states", "lr_schedulers"} <= set(
        content
    )
    assert content["pytorch-lightning_version"] == "2.0.0"  # without it Lightning reads no file
    assert {"callbacks", "loops", "hyper_parameters", "hparams_name", "engine_version"} <= set(
        content
    )
    assert (content["epoch"], content["global_step"]) == (0, 6)


def test_weights_alone_cannot_resume_a_run(tmp_path):
    """They load for inference; fit says why it cannot go on from them."""
    trainer = quiet(tmp_path)
    model = Toy()
    trainer.fit(model, loader())
    trainer.save_checkpoint(tmp_path / "w.ckpt", weights_only=True)
    assert torch.equal(
        weights(Toy.load_from_checkpoint(tmp_path / "w.ckpt")),
        weights(model),
    )
    with pytest.raises(CheckpointError, match="weights only"):
        quiet(tmp_path).fit(Toy(), loader(), ckpt_path=tmp_path / "w.ckpt")


def test_other_optimizers_than_before_are_named(tmp_path):
    """A run cannot go on with fewer schedulers or other groups; the error says what to do."""
    trainer = quiet(tmp_path)
    trainer.fit(Scheduled(), loader())
    trainer.save_checkpoint(tmp_path / "s.ckpt")

    class Groups(Toy):
        def configure_optimizers(self):
            groups = [{"params": [p]} for p in self.parameters()]
            return torch.optim.Adam(groups, lr=0.1)

    for kind, why in ((Toy, "it holds 1 schedulers, there are 0 now"), (Groups, "for Adam: ")):
        with pytest.raises(CheckpointError, match=f"{why}.*load_from_checkpoint"):
            quiet(tmp_path, max_epochs=2).fit(kind(), loader(), ckpt_path=tmp_path / "s.ckpt")


def test_a_file_that_could_run_code_is_refused(tmp_path):
    """Until the user says that it is trusted, and the message says how."""

    content = {"state_dict": Toy().state_dict(), "mine": Path("x"), "hyper_parameters": {"lr": 0.1}}
    files.write(content, tmp_path / "odd.ckpt")
    with pytest.raises(CheckpointError, match="weights_only=False"):
        Toy.load_from_checkpoint(tmp_path / "odd.ckpt")
    Toy.load_from_checkpoint(tmp_path / "odd.ckpt", weights_only=False)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """A checkpoint is replaced by a whole one or not at all, and nothing else is left."""
    path = tmp_path / "a.ckpt"
    files.write({"n": 1}, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write({"n": 2}, path)
    assert files.read(path) == {"n": 1}
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_what_the_module_does_not_take_is_left_out(tmp_path):
    """S271: a program may hand on its whole command line; a name that is misspelt is told."""
    content = {"state_dict": Toy().state_dict(), "hyper_parameters": {"width": 8}}
    files.write(content, tmp_path / "a.ckpt")
    with pytest.warns(UserWarning) as said:
        module = Toy.load_from_checkpoint(tmp_path / "a.ckpt", lr=0.5, gpus=2, dropuot=0.1)
    assert module.hparams == {"width": 8, "lr": 0.5, "dropout": 0.0}
    first, second = (str(one.message) for one in said)
    assert first == "Toy has no argument 'gpus': it is left out"
    assert second.endswith("'dropuot': it is left out; did you mean 'dropout'?")


class Needy(LightningModule):
    def __init__(self, args, tokenizer=None, in_dim=3):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(in_dim, args.out)


def test_hyper_parameters_come_back(tmp_path):
    """S075, S076: a Namespace as it was; an object that is no data is named in a warning."""
    args = Namespace(out=2, path=Path("/data"), sizes=(1, 2))
    model = Needy(args, tokenizer=object())
    content = {"state_dict": model.state_dict()}
    with pytest.warns(UserWarning, match="'tokenizer'"):
        files.put_hparams(content, model, None)
    files.write(content, tmp_path / "n.ckpt")
    torch.load(tmp_path / "n.ckpt", weights_only=True)
    with pytest.warns(UserWarning, match="left out: tokenizer.*weights_only=False"):
        loaded = Needy.load_from_checkpoint(tmp_path / "n.ckpt")
    assert (loaded.hparams.args, loaded.hparams["in_dim"]) == (args, 3)
    assert "in_dim" in loaded.hparams


def test_a_namespace_saved_as_the_hyper_parameters(tmp_path):
    """save_hyperparameters(args) keeps the members, and load hands a Namespace to __init__."""

    class Whole(LightningModule):
        def __init__(self, args):
            super().__init__()
            self.save_hyperparameters(args)
            self.layer = torch.nn.Linear(args.n, 1)

        training_step = Toy.training_step

    model = Whole(Namespace(n=3))
    assert model.hparams.n == 3
    content = {"state_dict": model.state_dict()}
    files.put_hparams(content, model, None)
    files.write(content, tmp_path / "n.ckpt")
    assert Whole.load_from_checkpoint(tmp_path / "n.ckpt").hparams == {"n": 3}


# ---------------------------------------------------------------------- the run's folder


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    from engine.runtime.storage import run_folder as rundir

    monkeypatch.setenv("PLAUNCH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(rundir, "_fits", 0)
    return tmp_path / "run"


def again(monkeypatch):
    """As if the program had been started anew."""
    from engine.runtime.storage import run_folder as rundir

    monkeypatch.setattr(rundir, "_fits", 0)


def kept(max_epochs=2, **options):
    return quiet(
        None, default_root_dir=None, enable_checkpointing=True, max_epochs=max_epochs, **options
    )


def test_the_run_folder_is_where_everything_goes(run_dir):
    """Each fit has a folder with its logs and checkpoints; no fit sees another's."""
    for ordinal in (0, 1):
        trainer = kept(logger=True)
        trainer.fit(Toy(), loader())
        folder = run_dir / f"fit-{ordinal}"
        assert trainer.global_step == 12
        assert Path(trainer.log_dir) == folder
        assert list(folder.glob("events*"))
        assert len(list(folder.glob("checkpoints/*.ckpt"))) == 1


def test_the_same_program_goes_on_where_it_was_cut(run_dir, monkeypatch):
    """The newest checkpoint is found by itself, also when it was written elsewhere."""
    torch.manual_seed(1)
    whole = Toy(dropout=0.5)
    kept(max_epochs=4).fit(whole, loader(shuffle=True))

    class Cut(Toy):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                raise RuntimeError("power cut")

    elsewhere = ModelCheckpoint(run_dir.parent / "elsewhere")
    torch.manual_seed(1)
    with pytest.raises(RuntimeError, match="power cut"):
        kept(max_epochs=4, callbacks=elsewhere).fit(Cut(dropout=0.5), loader(shuffle=True))
    resumed = Toy(dropout=0.5)
    monkeypatch.setattr("engine.runtime.storage.run_folder._fits", 1)
    trainer = kept(max_epochs=4, callbacks=ModelCheckpoint(run_dir.parent / "elsewhere"))
    trainer.fit(resumed, loader(shuffle=True))
    assert len(resumed.seen) == 48
    assert torch.equal(weights(whole), weights(resumed))


def test_a_fit_that_was_complete_is_not_trained_again(run_dir, monkeypatch):
    """Its weights are there for what comes after, even if it had stopped early."""

    class Stops(Toy):
        def on_train_epoch_end(self):
            self.trainer.should_stop = self.current_epoch == 1

    first, second = Stops(), Stops()
    kept(max_epochs=9).fit(first, loader())
    again(monkeypatch)
    trainer = kept(max_epochs=9)
    trainer.fit(second, loader())
    assert (len(first.seen), len(second.seen)) == (48, 0)
    assert torch.equal(weights(first), weights(second))
    assert trainer.checkpoint_callback.best_model_path


def test_a_recorded_checkpoint_that_is_gone_fails_the_run(run_dir, monkeypatch):
    """Beginning again in silence would throw work away."""
    kept().fit(Toy(), loader())
    for file in run_dir.glob("fit-0/checkpoints/*"):
        file.unlink()
    again(monkeypatch)
    with pytest.raises(CheckpointError, match="not there"):
        kept().fit(Toy(), loader())


def test_the_index_survives_a_move(tmp_path):
    """Paths below the run's folder are kept relative to it."""
    index = Index(tmp_path / "a" / "fit-0")
    (tmp_path / "a/fit-0/checkpoints").mkdir(parents=True)
    path = tmp_path / "a/fit-0/checkpoints/x.ckpt"
    path.touch()
    index.add(str(path), 0, 1)
    (tmp_path / "a").rename(tmp_path / "b")
    newest = Index.of_fit(str(tmp_path / "b"), 0).newest()
    assert newest == str(tmp_path / "b/fit-0/checkpoints/x.ckpt")


# ---------------------------------------------------------------------- orders that are not ours


class Noisy(torch.utils.data.Dataset):
    """Draws at random for each sample, as augmentation does."""

    def __init__(self, count=24):
        self.inner = samples(count)

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        x, y, i = self.inner[index]
        return x + torch.randn(4), y, i


class Stream(torch.utils.data.IterableDataset):
    """Samples one after the other, in an order that it draws itself."""

    def __iter__(self):
        noisy = Noisy()
        for index in torch.randperm(24).tolist():
            yield noisy[index]


def theirs(kind):
    """A loader whose order follows from the random state, and how it is to be used."""
    if kind == "stream":
        return DataLoader(Stream(), batch_size=4), {}
    options = {} if kind == "striped" else {"use_distributed_sampler": False}
    return DataLoader(Noisy(), batch_size=4, shuffle=True), options


@pytest.mark.parametrize("kind", ["striped", "shuffled", "stream"])
@pytest.mark.parametrize("step", [3, 9, 16])
def test_in_the_middle_of_an_order_that_is_drawn(tmp_path, kind, step):
    """No sample comes twice or is left out, and samples are augmented as they would have been."""
    path = tmp_path / "cut.ckpt"
    whole, resumed = Toy(dropout=0.5), Toy(dropout=0.5)
    data, options = theirs(kind)
    torch.manual_seed(1)
    quiet(tmp_path, max_epochs=3, callbacks=SaveAt(path, step=step), **options).fit(whole, data)
    torch.manual_seed(99)
    again = quiet(tmp_path, max_epochs=3, callbacks=SaveAt(path), **options)
    again.fit(resumed, theirs(kind)[0], ckpt_path=path)
    assert whole.seen[step * 4 :] == resumed.seen
    # Of a stream that does not say its length one batch is read ahead, with draws of its own.
    assert kind == "stream" or torch.equal(weights(whole), weights(resumed))


class Judged(Toy):
    """The learning rate follows a metric of the middle of an epoch."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=20.0)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_loss"}


@pytest.mark.parametrize("step", [5, 9, 17])
def test_metrics_of_an_earlier_validation_are_known(tmp_path, step):
    """Schedulers and EarlyStopping go on with the very value that they would have looked at, and
    count it once.
    """
    path, options = tmp_path / "cut.ckpt", {"val_check_interval": 4, "max_epochs": 5}

    def fit(model, *callbacks, **more):
        stop = EarlyStopping("val_loss", patience=2, check_on_train_epoch_end=True)
        trainer = quiet(tmp_path, callbacks=[stop, *callbacks], **options)
        trainer.fit(model, loader(), loader(), **more)
        return trainer, stop

    trainer, stop = fit(Judged(), SaveAt(path, step=step))
    again, resumed = fit(Judged(), SaveAt(path), ckpt_path=path)
    assert again.callback_metrics == trainer.callback_metrics
    assert resumed.wait_count == stop.wait_count
    rates = [t.optimizers[0].param_groups[0]["lr"] for t in (trainer, again)]
    assert rates[0] == rates[1] < 20.0
