"""Loaders that are no torch DataLoader, and IterableDatasets, on two real ranks."""

from __future__ import annotations

import pytest

PROGRAM = """
import json, os, sys, warnings
import torch
from torch.utils.data import DataLoader, IterableDataset
from engine import Callback
from engine.runtime.data.combined import CombinedLoader
from tests.engine.support.toy import Toy, loader, quiet, samples, weights

warnings.simplefilter("ignore")
torch.set_num_threads(1)
rank = int(os.environ.get("RANK", 0))


class Batches:
    def __len__(self):
        return 3

    def __iter__(self):
        return iter([torch.full((2, 4), float(i)) for i in range(3)])


class Stream(IterableDataset):
    def __init__(self, count=24, first=0):
        self.count, self.first = count, first

    def __iter__(self):
        for i in torch.randperm(self.count).tolist():
            x, y, index = samples()[i]
            yield x + torch.rand(()), y, index + self.first

    def __len__(self):
        return self.count


class Ordered(IterableDataset):
    def __iter__(self):
        return iter([samples()[i] for i in range(23)])


class Model(Toy):
    def on_train_start(self):
        self.seen = []

    def training_step(self, batch, batch_idx):
        if isinstance(batch, torch.Tensor):
            self.seen.append(float(batch[0, 0]))
            return self.net(batch).sum()
        if isinstance(batch, dict):
            self.seen.append([float(batch["a"][0, 0]), batch["b"][2].tolist()])
            return self.net(batch["a"]).sum()
        return super().training_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        count = len(batch) if isinstance(batch, torch.Tensor) else len(batch[2])
        self.log("n", float(count), reduce_fx="sum")
        if not isinstance(batch, torch.Tensor):
            super().test_step(batch, batch_idx)

    def predict_step(self, batch, batch_idx):
        return batch[:, 0] if isinstance(batch, torch.Tensor) else batch[2]


class Says(Toy):
    def test_step(self, batch, batch_idx):
        self.log("mean", 3.0)
        self.log("best", 3.0, sync_dist=True, sync_dist_op="max")


class SavesAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint("cut.ckpt")


def fitted(data, path=None, **options):
    torch.manual_seed(99 if path else 1)
    model = Model(dropout=0.5)
    trainer = quiet(".", **options)
    trainer.fit(model, data, ckpt_path=path)
    return model, trainer


def batches_of(loaders):
    trainer, model = quiet("."), Model()
    tested = trainer.test(model, loaders, verbose=False)[0]
    predicted = [batch.tolist() for batch in trainer.predict(model, loaders)]
    return tested, predicted


found = {}
model, _ = fitted(Batches())
found["trained on"] = model.seen
found["batches"] = batches_of(Batches())
found["list"] = batches_of([torch.full((2, 4), float(i)) for i in range(3)])
found["stream"] = batches_of(DataLoader(Ordered(), batch_size=3))
found["workers"] = batches_of(DataLoader(Ordered(), batch_size=3, num_workers=2))
parts = {"a": Batches(), "b": DataLoader(Stream(), batch_size=4)}
model, _ = fitted(parts, multiple_trainloader_mode="max_size_cycle")
found["parts"] = model.seen

whole, trainer = fitted(DataLoader(Stream(), batch_size=4), callbacks=SavesAt(4), max_epochs=3)
found["epochs"] = [trainer.global_step, whole.seen]
resumed, _ = fitted(DataLoader(Stream(), batch_size=4), path="cut.ckpt", max_epochs=3)
found["resumed"] = [resumed.seen, torch.equal(weights(whole), weights(resumed))]

own, _ = fitted(DataLoader(Stream(8, first=100 * rank), batch_size=4))  # data of each rank's own
found["own"] = sorted(own.seen)
off, _ = fitted(DataLoader(Ordered(), batch_size=4), use_distributed_sampler=False)
found["off"] = off.seen
weightless = torch.zeros(0, 4)
for name, batches in (("one", [torch.zeros(2, 4), weightless]), ("all", [weightless] * 2)):
    said = quiet(".").test(Says(), batches, verbose=False)[0]
    found[f"{name} empty"] = [str(value) for value in said.values()]
json.dump(found, open(sys.argv[1], "w"))
"""


def test_each_sample_goes_to_one_rank(run_ranks):
    """Ranks train on different batches, and on as many; what is tested and predicted is what one
    rank would have; a run that is resumed in the middle of an epoch goes on with the very samples;
    and data that ranks have divided already is not divided once more. A rank whose batches are
    empty weighs nothing.
    """
    both = run_ranks(PROGRAM, ranks=2)
    assert [one["trained on"] for one in both] == [[0.0], [1.0]]
    for one in both:
        for kind in ("batches", "list"):
            tested, predicted = one[kind]
            assert tested == {"n": 6.0} and predicted == [[0, 0], [1, 1], [2, 2]]
        for kind in ("stream", "workers"):
            tested, predicted = one[kind]
            assert tested["n"] == 23.0 and tested == {
                "n": 23.0,
                "test_loss": pytest.approx(both[0]["stream"][0]["test_loss"]),
            }
            assert predicted == [[*range(23)][i : i + 3] for i in range(0, 23, 3)]
    pairs = [one["parts"] for one in both]
    assert [[a for a, _ in one] for one in pairs] == [[0, 0, 0], [1, 1, 1]]
    assert sorted(i for one in pairs for _, b in one for i in b) == [*range(24)]

    for epoch in range(3):
        mine = [one["epochs"][1][12 * epoch : 12 * epoch + 12] for one in both]
        assert sorted(mine[0] + mine[1]) == [*range(24)]
    first = both[0]["epochs"]
    assert first[0] == 9 and sorted(first[1][:12]) != sorted(first[1][12:24])
    for one in both:
        assert one["resumed"] == [one["epochs"][1][16:], True]
        assert one["off"] == [*range(23)]
    assert [one["own"] for one in both] == [[*range(8)], [*range(100, 108)]]

    for one in both:
        assert one["one empty"] == ["3.0", "3.0"] and one["all empty"] == ["nan", "nan"]
    (_, said), (_, other) = run_ranks.output
    assert said.count("Batches is divided among 2 ranks:") == 1
    assert "not the same on all ranks" in said and "divided among" not in other
