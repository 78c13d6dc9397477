"""Loaders that are asked for anew in the middle of a fit."""

from __future__ import annotations

import pytest

from engine import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet


class Grows(Toy):
    """Each loader that it is asked for has one batch more than the last."""

    def __init__(self, resets=()):
        super().__init__()
        self.resets, self.asked = resets, []
        self.trained, self.validated = [], []

    def train_dataloader(self):
        self.asked.append("train")
        return loader(4 * self.asked.count("train"))

    def val_dataloader(self):
        self.asked.append("val")
        return loader(4 * self.asked.count("val"))

    def on_train_epoch_start(self):
        self.trained.append(len(self.trainer.train_dataloader))
        self.validated.append([len(one) for one in self.trainer.val_dataloaders])

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if (self.current_epoch, batch_idx) in self.resets:
            self.trainer.reset_train_dataloader(self)
            self.trainer.reset_val_dataloader(self)


def test_loaders_that_are_reset_in_an_epoch_are_asked_for_before_the_next(tmp_path):
    """Both, once; the trainer shows those that are used."""
    module = Grows(resets=[(0, 0), (2, 0)])
    trainer = quiet(tmp_path, max_epochs=4)
    trainer.fit(module)

    assert module.trained == [1, 2, 2, 3]
    assert module.validated == [[1], [2], [2], [3]]
    assert module.asked == ["train", "val"] * 3
    assert trainer.global_step == 8 and trainer.num_training_batches == 3
    with pytest.raises(MisconfigurationException, match="in a hook of a fit"):
        trainer.reset_train_dataloader(module)


def test_loaders_of_every_epoch_are_shown(tmp_path):
    """reload_dataloaders_every_n_epochs: `trainer.val_dataloaders` are those that are used."""
    module = Grows()
    quiet(tmp_path, max_epochs=3, reload_dataloaders_every_n_epochs=1).fit(module)
    assert module.validated == [[1], [2], [3]]


def test_loaders_are_reset_before_the_training_at_once(tmp_path):
    """As code of 1.x does in `setup`, to count the batches."""

    class Counts(Grows):
        def setup(self, stage=None):
            self.trainer.reset_train_val_dataloaders(self)
            self.counted = (len(self.trainer.train_dataloader), len(self.trainer.val_dataloaders))

    module = Counts()
    trainer = quiet(tmp_path)
    trainer.fit(module)
    assert module.counted == (1, 1)
    assert trainer.state.finished
