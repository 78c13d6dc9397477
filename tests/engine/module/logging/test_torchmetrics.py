"""Metrics of torchmetrics in self.log: collections, epochs, loaders, checkpoints, ranks."""

from __future__ import annotations

import pytest
import torch
import torchmetrics
from torchmetrics.classification import MulticlassAccuracy, MulticlassPrecision, MulticlassRecall

from engine.callbacks import ModelCheckpoint
from engine.loggers import MemoryLogger
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet, samples


def collection(prefix):
    """Three metrics, of which torchmetrics lets two share a state."""
    members = {
        "acc": MulticlassAccuracy(2, average="micro"),
        "prec": MulticlassPrecision(2),
        "rec": MulticlassRecall(2),
    }
    return torchmetrics.MetricCollection(members, prefix=prefix)


class Guesses(Toy):
    """Guesses by the samples' numbers, the better the later the epoch."""

    def __init__(self):
        super().__init__()
        self.train_scores, self.val_scores = collection("train_"), collection("val_")

    def guess(self, batch):
        _, target, index = batch
        return torch.where(index % (self.current_epoch + 2) == 0, 1 - target, target)

    def training_step(self, batch, batch_idx):
        self.train_scores(self.guess(batch), batch[1])
        self.log_dict(self.train_scores, on_step=True, on_epoch=True)
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.val_scores.update(self.guess(batch), batch[1])
        self.log_dict(self.val_scores)


def right(epoch, batch=slice(None)):
    """The values of an epoch, or of a batch, from all data at once."""
    _, target, index = samples().tensors
    guess = torch.where(index % (epoch + 2) == 0, 1 - target, target)
    values = collection("")(guess[batch], target[batch])
    return {name: float(value) for name, value in values.items()}


def test_a_collection_is_logged_member_by_member(tmp_path):
    """`self.log_dict(collection)` after a call or an update: each batch's value and each epoch's,
    which is that of all its data at once; the next epoch, and the sanity check, begin anew."""
    log, model = MemoryLogger(), Guesses()
    trainer = quiet(tmp_path, max_epochs=3, logger=log, log_every_n_steps=1, num_sanity_val_steps=2)
    trainer.fit(model, loader(), loader())
    for name in ("acc", "prec", "rec"):
        steps = [right(n // 6, slice(n % 6 * 4, n % 6 * 4 + 4))[name] for n in range(18)]
        assert [v for _, v in log.series(f"train_{name}_step")] == pytest.approx(steps)
        epochs = pytest.approx([right(epoch)[name] for epoch in range(3)])
        assert [v for _, v in log.series(f"train_{name}_epoch")] == epochs
        assert [v for _, v in log.series(f"val_{name}")] == epochs
        assert float(trainer.callback_metrics[f"train_{name}"]) == pytest.approx(right(2)[name])
    assert {m._update_count for m in model.val_scores.values(copy_state=False)} == {0}


def test_states_that_persist_are_in_checkpoints(tmp_path):
    """A metric whose states are persistent goes on in the middle of an epoch where it stood."""

    class Counts(Toy):
        def __init__(self):
            super().__init__()
            self.total = torchmetrics.SumMetric()
            self.total.persistent(True)

        def training_step(self, batch, batch_idx):
            self.total.update(batch[2])
            self.log("total", self.total, on_step=False, on_epoch=True)
            return self.loss(batch)

    def fit(max_steps, ckpt_path=None):
        keeps = ModelCheckpoint(tmp_path, "cut", every_n_train_steps=4)
        options = {"max_steps": max_steps, "enable_checkpointing": True, "callbacks": keeps}
        trainer = quiet(tmp_path, **options)
        trainer.fit(Counts(), loader(), loader(4), ckpt_path=ckpt_path)
        return trainer

    fit(4)
    assert float(torch.load(tmp_path / "cut.ckpt")["state_dict"]["total.sum_value"]) == sum(
        range(16)
    )
    trainer = fit(6, tmp_path / "cut.ckpt")
    assert float(trainer.callback_metrics["total"]) == sum(range(24))
    assert len(list(Counts.load_from_checkpoint(tmp_path / "cut.ckpt").parameters())) == 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MulticlassAccuracy(2, average=None), r"shape \(2,\).*self.log_dict"),
        (lambda: collection(""), "MetricCollection; self.log_dict"),
    ],
)
@pytest.mark.parametrize("on_step", [False, True])
def test_what_is_no_number_is_explained(tmp_path, make, words, on_step):
    """Several values under one name: the error names the metric and what to write."""

    class Several(Toy):
        def __init__(self):
            super().__init__()
            self.score = make()

        def validation_step(self, batch, batch_idx):
            self.score(self(batch[0]), batch[1])
            self.log("score", self.score, on_step=on_step)

    with pytest.raises(MisconfigurationException, match=words):
        quiet(tmp_path).fit(Several(), loader(), loader())


@pytest.mark.parametrize("kind", ["loaders", "stages"])
def test_one_object_for_two_kinds_of_data_is_named(tmp_path, kind):
    """One metric object for two loaders, or for training and validation, adds up both."""

    class Shares(Toy):
        def __init__(self):
            super().__init__()
            self.score = torchmetrics.MeanMetric()

        def training_step(self, batch, batch_idx):
            if kind == "stages":
                self.score(batch[2])
                self.log("train_score", self.score)
            return self.loss(batch)

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.score(batch[2])
            self.log("score", self.score)

    first = {"loaders": "score/dataloader_idx_0", "stages": "train_score' in training"}[kind]
    data = [loader(), loader(8)] if kind == "loaders" else loader()
    with pytest.warns(UserWarning, match=f"MeanMetric object of '{first}.*one metric object for"):
        quiet(tmp_path).fit(Shares(), loader(), data)


RANKS = """
import json, sys
from engine.loggers import MemoryLogger
from tests.engine.module.logging.test_torchmetrics import Guesses
from tests.engine.support.toy import loader, quiet

log, found = MemoryLogger(), {}
trainer = quiet(".", strategy="ddp", accelerator="cpu", devices=2, max_epochs=2)
model = Guesses()
trainer.fit(model, loader(), loader(20))
found["fit"] = {n: float(v) for n, v in trainer.callback_metrics.items() if "step" not in n}
found["one batch"] = trainer.validate(model, loader(4), verbose=False)
json.dump(found, open(sys.argv[1], "w"))
"""


def test_collections_on_two_ranks(run_ranks):
    """Ranks with different numbers of batches, and one with none, have the values of one rank."""
    first, second = run_ranks(RANKS)
    assert first == second
    for name in ("acc", "prec", "rec"):
        assert first["fit"][f"train_{name}_epoch"] == pytest.approx(right(1)[name])
        assert first["fit"][f"val_{name}"] == pytest.approx(right(1, slice(20))[name])
        assert first["one batch"][0][f"val_{name}"] == pytest.approx(right(2, slice(4))[name])
