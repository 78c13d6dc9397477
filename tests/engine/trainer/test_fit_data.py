"""fit: every way of handing over the data, and what counts when there are two."""

from __future__ import annotations

import warnings

import pytest
import torch

from engine import LightningDataModule, LightningModule, MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet


class Counts(Toy):
    """Keeps how many batches each step saw, and of which loader."""

    def __init__(self):
        super().__init__()
        self.counts = {"train": 0, "val": []}

    def training_step(self, batch, batch_idx):
        self.counts["train"] += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx, dataloader_idx=None):
        self.counts["val"].append(dataloader_idx)
        self.log("val_loss", self.loss(batch))


class Data(LightningDataModule):
    def train_dataloader(self):
        return loader(8)

    def val_dataloader(self):
        return loader(12)


@pytest.mark.parametrize(
    ("positional", "keywords", "expected"),
    [
        ((loader(), loader(8)), {}, (6, 2)),
        ((loader(), [loader(8)]), {}, (6, 2)),
        ((loader(),), {"val_dataloaders": loader(8)}, (6, 2)),
        ((), {"train_dataloader": loader(), "val_dataloaders": loader(8)}, (6, 2)),
        ((), {"train_dataloaders": loader(), "val_dataloaders": [loader(8)]}, (6, 2)),
        ((Data(),), {}, (2, 3)),
        ((), {"datamodule": Data()}, (2, 3)),
        ((None, None, Data()), {}, (2, 3)),
    ],
)
def test_fit_takes_its_data_in_many_forms(tmp_path, positional, keywords, expected):
    """S110, S111, S112, S115: by position, by either name, a data module in any place."""
    model = Counts()
    quiet(tmp_path).fit(model, *positional, **keywords)
    assert (model.counts["train"], len(model.counts["val"])) == expected


def test_several_validation_loaders(tmp_path):
    """S115: each step is told which loader its batch is of; the values have names of their own."""
    model = Counts()
    trainer = quiet(tmp_path)
    trainer.fit(model, loader(), [loader(4), loader(8)])
    assert model.counts["val"] == [0, 1, 1]
    assert {"val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"} <= set(
        trainer.callback_metrics
    )


def test_a_validation_step_without_a_loader(tmp_path):
    """S113: it trains; one warning, at the user's own line, says that there is no validation."""
    model = Counts()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet(tmp_path, max_epochs=2).fit(model, loader())
    said = [w for w in caught if "no validation" in str(w.message)]
    assert len(said) == 1 and "validation_step" in str(said[0].message)
    assert said[0].filename == __file__
    assert model.counts == {"train": 12, "val": []}


class Own(Counts):
    """A module that brings its data."""

    def train_dataloader(self):
        return loader(4)

    def val_dataloader(self):
        return [loader(4), loader(4)]


def test_a_validation_of_nothing_is_told(tmp_path):
    """A loader without batches says why no metric of it is there, in a fit and alone."""
    run = quiet(tmp_path, max_epochs=1)
    with pytest.warns(UserWarning, match="a validation loader has no batches"):
        run.fit(Toy(), loader(), torch.utils.data.DataLoader([]))
    with pytest.warns(UserWarning, match="a test loader has no batches"):
        assert run.test(Toy(), torch.utils.data.DataLoader([]), verbose=False) == [{}]


def test_a_module_can_bring_its_data(tmp_path):
    """S114, C8: fit(model) takes the module's loaders; what is given to fit counts more than those,
    and a warning says so.
    """
    model = Own()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet(tmp_path).fit(model)
    assert model.counts == {"train": 1, "val": [0, 1]}
    both = Own()
    with pytest.warns(UserWarning, match="that was given is used, not `train_dataloader`"):
        quiet(tmp_path).fit(both, loader())
    assert both.counts == {"train": 6, "val": [0, 1]}
    with pytest.warns(UserWarning, match="that was given is used, not `val_dataloader`"):
        quiet(tmp_path).fit(both, None, loader(8))
    assert both.counts["val"] == [0, 1, None, None]  # one loader alone has no index
    both = Own()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet(tmp_path).fit(both, datamodule=Data())
    said = [str(w.message) for w in caught if "of the data module is used" in str(w.message)]
    assert [words.split("`")[1] for words in said] == ["train_dataloader", "val_dataloader"]
    assert both.counts == {"train": 2, "val": [None] * 3}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train_dataloaders": Data(), "datamodule": Data()}, "two data modules"),
        ({"datamodule": loader()}, r"DataLoader.*no LightningDataModule.*train_loader"),
    ],
)
def test_data_in_a_wrong_place_is_named(tmp_path, given, words):
    """S110, S111: what to do is said."""
    with pytest.raises(MisconfigurationException, match=words):
        quiet(tmp_path).fit(Toy(), **given)


@pytest.mark.parametrize("data", [(loader(12), loader(8)), (Data(),)], ids=["given", "datamodule"])
def test_a_module_can_ask_for_the_data_of_its_run(tmp_path, data):
    """C8: as in 1.x, `self.train_dataloader()` is what fit was given, from `setup` on: programs
    count their steps by it.
    """
    seen = []

    class Asks(Toy):
        def setup(self, stage):
            seen.append((len(self.train_dataloader()), len(self.val_dataloader())))

        def configure_optimizers(self):
            seen.append((len(self.train_dataloader()), self.test_dataloader()))
            return super().configure_optimizers()

    quiet(tmp_path).fit(Asks(), *data)
    train, val = (3, 2) if len(data) == 2 else (2, 3)
    assert seen == [(train, val), (train, None)]
    assert Toy().train_dataloader() is None


def test_a_loader_in_the_place_of_a_remembered_data_modules(tmp_path):
    """C8: after fit(model, datamodule), test(model, loader) is no contradiction to warn of."""

    class More(Data):
        def test_dataloader(self):
            return loader(4)

    trainer, model = quiet(tmp_path), Toy()
    trainer.fit(model, More())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.test(model, loader(8), verbose=False)
    with pytest.warns(UserWarning, match="not `test_dataloader`"):
        trainer.test(model, loader(8), datamodule=More(), verbose=False)


def test_what_is_no_data_is_said(tmp_path):
    """S150: a share that is no batch at all is an error, an empty loader a warning."""
    with pytest.raises(MisconfigurationException, match=r"limit_train_batches=0\.1.*of 6 batches"):
        quiet(tmp_path, limit_train_batches=0.1).fit(Toy(), loader(), loader())
    trainer = quiet(tmp_path)
    with pytest.warns(UserWarning, match="no batches.*drop_last"):
        trainer.fit(Toy(), loader(2, drop_last=True), loader())
    assert trainer.global_step == 0


def test_what_is_no_module_is_said(tmp_path):
    """A class, somebody else's module, and a torch module with steps, each with what to do."""

    class Theirs(torch.nn.Module):
        def training_step(self, batch, batch_idx):
            return None

    message = r"Toy is a class; give an instance of it: Toy\(\.\.\.\)"
    with pytest.raises(MisconfigurationException, match=message):
        quiet(tmp_path).fit(Toy, loader())
    with pytest.raises(MisconfigurationException, match=r"no engine\.LightningModule.*wrap"):
        quiet(tmp_path).fit(Theirs(), loader())
    Theirs.__module__ = "pytorch_lightning.core"
    with pytest.raises(MisconfigurationException, match=r"of pytorch_lightning.*engine\.compat"):
        quiet(tmp_path).fit(Theirs(), loader())


def test_a_plain_module_is_trained_as_it_is(tmp_path):
    """S113: also one with nothing but a training step says nothing of validation."""

    class Least(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(4, 2)

        def training_step(self, batch, batch_index):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet(tmp_path).fit(Least(), loader())
