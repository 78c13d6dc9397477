"""Data modules: which method is called where, and what a checkpoint keeps of them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, random_split

from engine import LightningDataModule, seed_everything
from tests.engine.support.toy import Toy, loader, quiet, samples


class Data(LightningDataModule):
    """As the tutorials have it: arguments, dims, datasets in setup."""

    def __init__(self, data_dir="./", batch_size=4, num_workers=0):
        super().__init__()
        self.save_hyperparameters()
        self.dims = (1, 28, 28)
        self.stages = []

    def setup(self, stage=None):
        self.stages.append(stage)
        self.train, self.val = random_split(
            samples(), [16, 8], generator=torch.Generator().manual_seed(42)
        )

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.hparams.batch_size)

    def val_dataloader(self):
        return [DataLoader(self.val, batch_size=4), DataLoader(self.val, batch_size=8)]

    def test_dataloader(self):
        return DataLoader(samples(5), batch_size=4)


class Two(Toy):
    def validation_step(self, batch, batch_idx, dataloader_idx):
        self.log("val_loss", self.loss(batch))


def test_a_data_module_of_the_tutorials(tmp_path):
    """S195, S196, S197, S199, S200: without prepare_data; setup gets the stage, the loaders (also
    a list of them) are used by fit and test, plain Datasets stay what they are, and dims is the
    size."""
    data, model = Data(), Two()
    trainer = quiet(tmp_path)
    trainer.fit(model, datamodule=data)
    assert trainer.num_training_batches == 4 and trainer.num_val_batches == [2, 1]
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.num_test_batches == [2]
    assert data.stages == ["fit", "test"]
    assert type(data.train.dataset) is torch.utils.data.TensorDataset
    assert data.size() == (1, 28, 28) and data.size(0) == 1 and data.size(-1) == 28

    class NoTest(LightningDataModule):
        def __init__(self):  # does not call that of its base
            self.batch_size = 4

        def train_dataloader(self):
            return loader()

        def val_dataloader(self):
            return loader()

    assert NoTest().size() == ()
    quiet(tmp_path).fit(Toy(), NoTest())


def test_hyper_parameters_and_state_are_in_the_checkpoint(tmp_path):
    """S198: arguments that were saved are kept, and a data module is made of a checkpoint, with
    its own state."""

    class Counts(Data):
        seen = 0

        def state_dict(self):
            return {"seen": 16}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    trainer = quiet(tmp_path)
    trainer.fit(Two(), datamodule=Counts("./x", batch_size=8))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    kept = torch.load(tmp_path / "a.ckpt")["datamodule_hyper_parameters"]
    assert kept == {"data_dir": "./x", "batch_size": 8, "num_workers": 0}
    made = Counts.load_from_checkpoint(tmp_path / "a.ckpt", num_workers=3)
    assert (made.hparams.batch_size, made.hparams.num_workers, made.seen) == (8, 3, 16)


def test_data_modules_of_datasets(tmp_path):
    """S199: from_datasets makes loaders of plain datasets: one, several, streams; only training
    data is shuffled."""

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(samples(8))

    data = LightningDataModule.from_datasets(
        samples(), [samples(8), samples(4)], test_dataset=Stream(), batch_size=4
    )
    trainer, model = quiet(tmp_path), Two()
    trainer.fit(model, datamodule=data)
    assert sorted(model.seen) == list(range(24)) != model.seen
    assert trainer.num_val_batches == [2, 1]
    assert trainer.test(model, datamodule=data, verbose=False)[0]["test_loss"] > 0
    made = LightningDataModule.from_datasets({"a": samples(), "b": samples(4)}, num_workers=1)
    assert {name: one.batch_size for name, one in made.train_dataloader().items()} == {
        "a": 1,
        "b": 1,
    }
    assert made.val_dataloader() is None


def test_a_split_follows_from_the_seed():
    """S202: lengths, shares, a generator of its own; the engine's seed makes the others alike."""
    data, splits = samples(20), []
    for _ in range(2):
        seed_everything(7, verbose=False)
        parts = [random_split(data, [15, 5]), random_split(data, [0.8, 0.2])]
        parts.append(random_split(data, [15, 5], generator=torch.Generator().manual_seed(42)))
        splits.append([list(part.indices) for pair in parts for part in pair])
    assert splits[0] == splits[1]
    assert [len(part) for part in splits[0]] == [15, 5, 16, 4, 15, 5]


RANKS = """
import json, os, sys, time, warnings
from engine import Trainer, LightningDataModule, seed_everything
from tests.engine.module.test_datamodules import *
calls = []

class Prepares(Data):
    def prepare_data(self):
        calls.append("prepare")
        self.words = 3
        give_up = time.monotonic() + 1  # so long the other could have been in its setup
        while not os.path.exists("was in setup") and time.monotonic() < give_up:
            time.sleep(0.01)
        open("prepared", "w").close()

    def setup(self, stage=None):
        super().setup(stage)
        if not os.path.exists("prepared"):
            open("was in setup", "w").close()
            raise AssertionError("setup before the data is prepared")
        self.drawn = random_split(samples(), [16, 8])[1].indices
        calls.append(stage)

seed_everything(5)
data, model = Prepares(), Two()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(model, datamodule=data)
told = [str(w.message) for w in said if "words" in str(w.message)]
json.dump([calls, told, list(data.drawn)], open(sys.argv[1], "w"))
"""


def test_two_ranks_prepare_once_and_split_alike(run_ranks):
    """S194, S195, S202: prepare_data runs in one process, where an attribute that is set is warned
    of, and the other waits for it; setup in both, and a split that follows from the seed is the
    same."""
    one, other = run_ranks(RANKS)
    assert one[0] == ["prepare", "fit"] and other[0] == ["fit"]
    assert len(one[1]) == 1 and "other ranks do not have" in one[1][0] and other[1] == []
    assert one[2] == other[2]


@pytest.mark.parametrize("kind", ["fit", "test"])
def test_a_module_is_a_data_module_too(tmp_path, kind):
    """S196: loaders that the module itself defines are used where there is no data module."""

    class Own(Toy):
        def train_dataloader(self):
            return loader(8)

        def val_dataloader(self):
            return loader(4)

        def test_dataloader(self):
            return loader(12)

    trainer = quiet(tmp_path)
    (trainer.fit if kind == "fit" else trainer.test)(Own())
    counts = (trainer.num_training_batches, trainer.num_val_batches, trainer.num_test_batches)
    assert counts == ((2, [1], []) if kind == "fit" else (0, [], [3]))
