"""Several training loaders, loaders that are made anew, and data that no rank can divide."""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from torch.utils.data import DataLoader

from engine import Callback, LightningDataModule, MisconfigurationException
from engine.runtime.data.combined import CombinedLoader
from engine.runtime.data.samplers import for_training
from engine.runtime.distributed.world import World
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def numbers(first, count, size=1, **options):
    return DataLoader(range(first, first + count), batch_size=size, **options)


class Sees(Toy):
    """Trains on nothing much and keeps its batches as lists of numbers."""

    def training_step(self, batch, batch_idx):
        self.seen.append(plain(batch))
        return self.net[0].weight.sum()


def plain(batch):
    if isinstance(batch, torch.Tensor):
        return batch.tolist()
    if isinstance(batch, dict):
        return {name: plain(one) for name, one in batch.items()}
    return type(batch)(plain(one) for one in batch)


def fitted(tmp_path, loaders, **options):
    model = Sees()
    trainer = quiet(tmp_path, **options)
    trainer.fit(model, loaders)
    assert trainer.num_training_batches == len(model.seen) // (options.get("max_epochs") or 1)
    return model.seen


def test_the_length_of_several_loaders(tmp_path):
    """S179: max_size_cycle ends with the longest and begins the others anew; min_size ends with
    the shortest; the batch has the form of what was given, nested too."""
    pair = {"a": numbers(0, 2), "b": numbers(10, 5, 2)}
    assert fitted(tmp_path, pair) == [
        {"a": [0], "b": [10, 11]},
        {"a": [1], "b": [12, 13]},
        {"a": [0], "b": [14]},
    ]
    assert fitted(
        tmp_path, [numbers(0, 3), numbers(10, 2)], multiple_trainloader_mode="min_size"
    ) == [
        [[0], [10]],
        [[1], [11]],
    ]
    nested = (numbers(0, 2), {"x": numbers(10, 1), "y": [numbers(20, 1), numbers(30, 1)]})
    assert fitted(tmp_path, nested) == [
        ([0], {"x": [10], "y": [[20], [30]]}),
        ([1], {"x": [10], "y": [[20], [30]]}),
    ]
    assert fitted(tmp_path, [numbers(0, 2)]) == [[[0]], [[1]]]
    batches = [{"a": torch.tensor([n])} for n in (1, 2)]  # a list of these is one loader
    assert fitted(tmp_path, batches) == [{"a": [1]}, {"a": [2]}]
    assert fitted(tmp_path, {"x": batches}) == [{"x": {"a": [1]}}, {"x": {"a": [2]}}]
    own = CombinedLoader([numbers(0, 3), numbers(10, 2)], "max_size")
    assert fitted(tmp_path, own, limit_train_batches=2) == [[[0], [10]], [[1], [11]]]
    with pytest.raises(MisconfigurationException, match="min_size"):
        quiet(tmp_path, multiple_trainloader_mode="longest")


def test_a_combined_loader_by_itself():
    """S179: it is a loader like any other, in each of the modes."""
    short, long = numbers(0, 2), numbers(10, 3)

    def read(mode):
        both = CombinedLoader({"a": short, "b": long}, mode)
        batches = [plain(batch) for batch in both]
        assert len(both) == len(batches)
        return [tuple(one.values()) if isinstance(one, dict) else one for one in batches]

    assert read("min_size") == [([0], [10]), ([1], [11])]
    assert read("max_size_cycle") == [([0], [10]), ([1], [11]), ([0], [12])]
    assert read("sequential") == [[0], [1], [10], [11], [12]]
    both = CombinedLoader([short, long], "max_size")
    assert [batch[0] is None for batch in both] == [False, False, True]
    assert (len(both), both.iterables) == (3, [short, long])
    with pytest.raises(MisconfigurationException, match="max_size_cycle"):
        CombinedLoader([short], "cycle")
    with pytest.raises(MisconfigurationException, match="no batch at all"):
        list(CombinedLoader([numbers(0, 0), long], "max_size_cycle"))


def test_each_shuffles_by_itself(tmp_path):
    """S179: no two loaders draw the same order, nor does one when it begins anew in an epoch."""
    pair = [numbers(0, 8, shuffle=True), numbers(0, 16, shuffle=True)]
    seen = fitted(tmp_path, pair, max_epochs=2)
    first = [a[0] for a, _ in seen]
    second = [b[0] for _, b in seen]
    rounds = [first[start : start + 8] for start in range(0, 32, 8)]
    assert all(sorted(one) == [*range(8)] for one in rounds)
    assert len({tuple(one) for one in rounds}) == 4
    assert sorted(second[:16]) == sorted(second[16:]) == [*range(16)]
    alike = fitted(tmp_path, [numbers(0, 16, shuffle=True), numbers(0, 16, shuffle=True)])
    assert [a[0] for a, _ in alike] != [b[0] for _, b in alike]


class Stops(Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_run_is_resumed_in_the_middle_of_a_round(tmp_path, is_ours):
    """S179: at the very batches where it was cut, by position or, if that can't be, by reading."""
    third = numbers(40, 9) if is_ours else [torch.tensor([n]) for n in range(40, 49)]
    loaders = {"a": numbers(0, 4, shuffle=True), "b": numbers(10, 11, shuffle=True), "c": third}
    path = tmp_path / "cut.ckpt"
    torch.manual_seed(1)
    whole = fitted(tmp_path, loaders, max_epochs=2, callbacks=Stops(path, 6))
    model = Sees()
    quiet(tmp_path, max_epochs=2).fit(model, loaders, ckpt_path=str(path))
    assert model.seen == whole[6:]


def test_ranks_divide_each_of_the_loaders(tmp_path):
    """S179: each rank has its own samples of each, and as many batches as the others."""
    from engine.runtime.data.combined import begin_epoch, combined, each

    taken = {"a": [], "b": []}
    for rank in (0, 1):
        both = combined({"a": numbers(0, 4), "b": numbers(10, 12, 2)}, "max_size_cycle")
        both = each(
            both, lambda _, one, rank=rank: for_training(one, 5, World(rank, rank, 2), True)
        )
        begin_epoch(both, 5, 0, rank)
        batches = [plain(batch) for batch in both]
        assert len(batches) == len(both) == 3
        for name, numbers_of_it in taken.items():
            numbers_of_it += [n for batch in batches for n in batch[name]]
    assert sorted(taken["b"]) == [*range(10, 22)]
    assert set(taken["a"]) == {0, 1, 2, 3}


def test_workers_of_all_loaders_end(tmp_path):
    """S179: also after an error, and of rounds that are over."""

    class Fails(Sees):
        def training_step(self, batch, batch_idx):
            if batch_idx == 3:
                raise ValueError("mine")
            return super().training_step(batch, batch_idx)

    loaders = [numbers(0, 2, num_workers=1), numbers(0, 8, num_workers=1, persistent_workers=True)]
    with pytest.raises(ValueError, match="mine") as held:
        quiet(tmp_path).fit(Fails(), loaders)
    assert held.tb is not None
    assert multiprocessing.active_children() == []


def test_validation_reads_a_combined_loader(tmp_path):
    """S179: together as training does, or one after the other where it is sequential."""
    seen = []

    class Validates(Toy):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            seen.append((plain(batch), dataloader_idx))

    one = CombinedLoader({"a": numbers(0, 2), "b": numbers(10, 2)}, "min_size")
    quiet(tmp_path).validate(Validates(), one, verbose=False)
    assert seen == [({"a": [0], "b": [10]}, 0), ({"a": [1], "b": [11]}, 0)]
    seen.clear()
    after = CombinedLoader([numbers(0, 1), numbers(10, 1)], "sequential")
    quiet(tmp_path).validate(Validates(), after, verbose=False)
    assert seen == [([0], 0), ([10], 1)]
    with pytest.raises(MisconfigurationException, match="ConcatDataset"):
        quiet(tmp_path).fit(Toy(), after)


@pytest.mark.parametrize(
    ("argument", "epochs"),
    [
        ({}, [0]),
        ({"reload_dataloaders_every_epoch": True}, [0, 1, 2, 3]),
        ({"reload_dataloaders_every_n_epochs": 2}, [0, 2]),
    ],
)
def test_loaders_are_made_anew(tmp_path, argument, epochs):
    """S168: the hooks are called again at every epoch, or every so many, and what they return is
    read; batches may be more."""
    asked, validated, read = [], [], []

    class Data(LightningDataModule):
        def train_dataloader(self):
            asked.append(self.trainer.current_epoch)
            return loader(4 * len(asked))

        def val_dataloader(self):
            validated.append(self.trainer.current_epoch)
            return loader(4 * len(validated))

    class Counts(Toy):
        def on_validation_batch_end(self, *_):
            read.append(self.current_epoch)

    trainer = quiet(tmp_path, max_epochs=4, **argument)
    trainer.fit(Counts(), datamodule=Data())
    assert asked == validated == epochs
    rounds = 4 // len(epochs)
    assert trainer.global_step == sum(rounds * (n + 1) for n in range(len(epochs)))
    assert len(read) == trainer.global_step  # as many of validation as of training
    assert trainer.num_training_batches == len(epochs)
    assert trainer.train_dataloader.dataset is not None


def test_a_resumed_run_makes_them_anew_when_the_whole_one_would(tmp_path):
    """S168: it is the number of the epoch that counts."""
    asked = []

    class Loads(Toy):
        def train_dataloader(self):
            asked.append(self.trainer.current_epoch)
            return loader(8)

    path, options = tmp_path / "cut.ckpt", {"reload_dataloaders_every_n_epochs": 2}
    quiet(tmp_path, max_epochs=2, callbacks=Stops(path, 3), **options).fit(Loads())
    asked.clear()
    quiet(tmp_path, max_epochs=5, **options).fit(Loads(), ckpt_path=str(path))
    assert asked == [1, 2, 4]
