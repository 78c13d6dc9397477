"""The mean over samples: how many a batch has, and one name that several loaders share."""

from __future__ import annotations

import re
import warnings
from collections import UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader

from engine import Callback, LightningModule, MisconfigurationException
from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.runtime.data.batch_size import Samples
from engine.runtime.data.combined import CombinedLoader
from tests.engine.support.toy import Toy, loader, quiet

zeros = torch.zeros
Pair = namedtuple("Pair", ["a", "b"])


@dataclass
class Batch:
    scale: float
    x: Any


@dataclass
class Slotted:
    __slots__ = ("x",)
    x: Any


class Thing:
    """An object with attributes, as batches of graphs are."""

    def __init__(self, **members):
        self.__dict__.update(members)

    def to(self, *_):
        return self


class NoTensors:
    value = 1


def graph(**members):
    return Thing(x=zeros(9, 2), edge_index=zeros(2, 20), **members)


def image(width):
    return zeros(3, 5, width)


class Scores(UserDict):
    """A mapping that is no dict, as what transformers' tokenizers give."""


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (zeros(3, 2), 3),
        (np.zeros((3, 2)), 3),
        ([zeros(4), zeros(4)], 4),
        ({"a": "x", "b": zeros(5, 1)}, 5),
        ({"scale": torch.tensor(2.0), "x": zeros(4), "y": None}, 4),
        ({"scale": 2.0, "x": np.zeros((4, 2))}, 4),
        ([["a", "b"], zeros(2)], 2),
        ([{"x": zeros(6)}], 6),
        ([[zeros(4), (zeros(4), {"z": zeros(4)})], zeros(4)], 4),
        (Batch(1.0, zeros(3)), 3),
        (Batch(1.0, [zeros(3), zeros(3)]), 3),
        (Slotted(zeros(7)), 7),
        (Pair(zeros(3), None), 3),
        (Thing(x=zeros(3)), 3),
        ([Thing(x=zeros(3)), zeros(3)], 3),
        (Scores(ids=zeros(4, 9), mask=zeros(4, 9)), 4),
        (pack_sequence([zeros(3, 2), zeros(2, 2)]), 2),
        ((pack_sequence([zeros(3, 2), zeros(2, 2)]), zeros(2)), 2),
        (torch.nested.nested_tensor([zeros(2, 3), zeros(5, 3)], layout=torch.jagged), 2),
        (graph(num_graphs=4), 4),
        (graph(ptr=torch.tensor([0, 3, 9])), 2),
        (graph(batch=torch.tensor([0] * 4 + [1] * 3 + [2] * 2)), 3),
        (graph(batch_size=5), 5),
        (graph(), 1),
        ([graph(), graph(), graph()], 3),
        (Thing(batch_size=torch.Size([5]), x=zeros(5)), 5),
        (["a", "b", "c"], 3),
        ({"question": ["a", "b"], "answer": ["c", "d"]}, 2),
        ([1, 2, 3], 3),
        ([NoTensors(), NoTensors()], 2),
        (range(4), 4),
        # detection: images and boxes have dimensions of their own
        (([image(2), image(3), image(4)], [{"boxes": zeros(n, 4)} for n in (1, 2, 5)]), 3),
        (((image(2), image(2)), torch.tensor([1, 2])), 2),
        ([{"image": image(2), "boxes": zeros(n, 4)} for n in (1, 2, 4, 5)], 4),
        ([(image(2), {"boxes": zeros(n, 4)}) for n in (1, 2, 4, 5)], 4),
        ([zeros(0, 3), zeros(0)], 0),
        # one thing is one sample
        (torch.tensor(1.0), 1),
        ((torch.tensor(1.0), torch.tensor(2.0)), 1),
        ("text", 1),
        (7, 1),
        (None, 1),
        ([], 1),
    ],
)
def test_the_samples_of_a_batch(batch, size):
    """They are found in batches of many kinds, and again in the next one of the same kind."""
    samples = Samples()
    assert (samples.of(batch), samples.of(batch)) == ((size, ""), (size, ""))


@pytest.mark.parametrize(
    ("batch", "size", "doubt"),
    [
        ((zeros(7, 4), zeros(4)), 7, r"\(0: 7, 1: 4\)"),
        ({"a": [zeros(4), zeros(4)], "b": [zeros(8)]}, 4, r"\(a.0: 4, b.0: 8\)"),
        ([{"x": zeros(4)}, {"x": zeros(8)}], 4, r"\(0.x: 4, 1.x: 8\)"),
        ({"a": ["x", "y"], "b": ["z"]}, 2, r"\(a: 2, b: 1\)"),
        (graph(batch=zeros(9, device="meta")), 9, r"\(x: 9, edge_index: 2\)"),
        (NoTensors(), 1, "a NoTensors does not show it"),
    ],
)
def test_what_does_not_show_its_samples(batch, size, doubt):
    """A batch whose parts differ, or that has none, is told why it is no sure thing."""
    found = Samples().of(batch)
    assert found.samples == size and re.search(doubt, found.doubt)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_without_a_shape():
    """torch's older kind of nested tensors has a size, and neither a length nor a shape."""
    samples, nested = Samples(), torch.nested.nested_tensor([zeros(2, 3), zeros(5, 3), zeros(1, 3)])
    assert (samples.of(nested), samples.of(nested)) == ((3, ""), (3, ""))


def test_a_list_whose_length_changes():
    """Columns are always as many: a list of images is recognized where a batch has fewer."""
    samples = Samples()
    assert samples.of([image(2)] * 8) == (3, "")
    assert samples.of([image(2)] * 8, "another loader") == (3, "")
    assert "a list of 5 after one of 8" in samples.of([image(2)] * 5).doubt


class Mean(LightningModule):
    """Logs the mean of its batch, whatever that is."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        x = batch["x"] if isinstance(batch, dict) else getattr(batch, "x", batch)
        self.log("v", x.mean(), **self.options)


def values_of(tmp_path, batches, **options):
    loaders = [DataLoader(one, batch_size=None) for one in batches]
    return quiet(tmp_path).test(Mean(**options), loaders, verbose=False)


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: Batch(1.0, x),
        lambda x: Thing(x=x),
        lambda x: {"s": torch.tensor(5.0), "x": x},
    ],
)
def test_a_mean_over_batches_of_many_kinds(tmp_path, kind):
    """A smaller batch counts less, also where it is no tensor and no tuple."""
    batches = [kind(torch.tensor([1.0, 2.0, 3.0])), kind(torch.tensor([10.0]))]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert values_of(tmp_path, [batches]) == [{"v": 4.0}]


def test_where_it_cannot_be_known_one_line_says_so(tmp_path):
    """It names batch_size=, and comes once; with batch_size= or another reduction never."""
    batches = [{"x": torch.tensor([1.0, 3.0]), "y": zeros(5)}] * 2
    with pytest.warns(UserWarning, match=r"x: 2, y: 5.*batch_size=") as told:
        assert values_of(tmp_path, [batches, batches])[0]["v/dataloader_idx_0"] == 2.0
    assert len([one for one in told if "batch_size=" in str(one.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        values_of(tmp_path, [batches], batch_size=2)
        values_of(tmp_path, [batches], reduce_fx="max")
        values_of(tmp_path, [batches], on_step=True, on_epoch=False)


def test_combined_loaders_in_training(tmp_path):
    """A batch of several loaders: sizes that agree are the number of samples, others are told."""

    class Both(Toy):
        def training_step(self, batch, batch_idx):
            self.log("index", batch["a"][2].float().mean(), on_epoch=True)
            return self.loss(batch["a"])

    for size, words in ((4, None), (3, r"a.0: 4, b.0: 3\)")):
        trainer = quiet(tmp_path, limit_val_batches=0)
        loaders = {"a": loader(10), "b": loader(10, size)}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            trainer.fit(Both(), CombinedLoader(loaders, "min_size"))
        assert float(trainer.callback_metrics["index_epoch"]) == 4.5
        told = [str(one.message) for one in said if "batch_size=" in str(one.message)]
        assert (not told) if words is None else len(told) == 1


# ---------------------------------------------------------------------- one name, two loaders

TWO = [[torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], [torch.tensor([100.0])]]


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({}, 22.0),
        ({"reduce_fx": "sum"}, 105.0),
        ({"reduce_fx": "min"}, 1.5),
        ({"reduce_fx": torch.max}, 100.0),
        ({"reduce_fx": lambda values: values.median()}, 3.5),
        ({"on_step": True}, 22.0),
        ({"batch_size": 1}, 35.0),
    ],
)
def test_loaders_that_share_a_name_have_one_value(tmp_path, options, value):
    """It is reduced over the batches of all of them, and in the result of each."""
    first, second = values_of(tmp_path, TWO, add_dataloader_idx=False, **options)
    assert first == second and first["v"] == value


class Shares(Toy):
    """Validates on two loaders under one name, and logs a metric object over both."""

    def __init__(self):
        super().__init__()
        self.metric = torchmetrics.MeanMetric()
        self.worst = [4.0, 100.0]

    def validation_step(self, batch, batch_idx, dataloader_idx):
        values = batch[2].float() + self.current_epoch * self.worst[dataloader_idx]
        self.metric(values)
        self.log("metric", self.metric, add_dataloader_idx=False)
        self.log("value", values.mean(), add_dataloader_idx=False)


def test_a_monitor_sees_the_value_of_all_loaders(tmp_path):
    """Checkpoints and early stopping follow the mean over both, and a metric object is computed
    over both."""
    seen = []

    class Looks(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append({k: float(v) for k, v in trainer.callback_metrics.items()})

    best = ModelCheckpoint(tmp_path, "best", monitor="value")
    stops = EarlyStopping("value", patience=1, mode="min")
    trainer = quiet(
        tmp_path, max_epochs=4, enable_checkpointing=True, callbacks=[best, stops, Looks()]
    )
    trainer.fit(Shares(), loader(4), [loader(6), loader(2)])
    rise = (6 * 4 + 2 * 100) / 8
    values = [2.0 + epoch * rise for epoch in range(2)]
    assert [one["value"] for one in seen] == pytest.approx(values)
    assert [one["metric"] for one in seen] == pytest.approx(values)
    assert float(best.best_model_score) == float(stops.best_score) == 2.0
    assert stops.stopped_epoch == 1


@pytest.mark.parametrize("what", ["reductions", "metrics", "a metric and a number"])
def test_what_cannot_be_one_value_is_refused(tmp_path, what):
    """The error names the value and add_dataloader_idx."""

    class Mixed(Toy):
        def __init__(self):
            super().__init__()
            self.metrics = torch.nn.ModuleList([torchmetrics.MeanMetric() for _ in range(2)])

        def test_step(self, batch, batch_idx, dataloader_idx):
            options, value = {"add_dataloader_idx": False}, batch[2].float().mean()
            if what == "reductions":
                options["reduce_fx"] = ["sum", "mean"][dataloader_idx]
            elif what == "metrics" or dataloader_idx == 0:
                self.metrics[dataloader_idx].update(batch[2])
                value = self.metrics[dataloader_idx]
            self.log("v", value, **options)

    with pytest.raises(MisconfigurationException, match=r"self.log\('v'\).*add_dataloader_idx"):
        quiet(tmp_path).test(Mixed(), [loader(4), loader(4)], verbose=False)


RANKS = """
import json, sys
from dataclasses import dataclass
import torch
from torch.utils.data import DataLoader
from engine import LightningModule
from tests.engine.support.toy import quiet

@dataclass
class Batch:
    x: torch.Tensor

class Mean(LightningModule):
    def test_step(self, batch, batch_idx, dataloader_idx=0):
        for how in ("mean", "sum"):
            self.log(how, batch.x.mean(), add_dataloader_idx=False, reduce_fx=how)

def test(*loaders):
    data = [[Batch(torch.tensor(x)) for x in one] for one in loaders]
    loaders = [DataLoader(one, batch_size=None) for one in data]
    trainer = quiet(".", accelerator="cpu", devices=2)
    return trainer.test(Mean(), loaders, verbose=False)[0]

one = test([[1.0, 2.0, 3.0], [10.0]])
two = test([[1.0, 2.0], [3.0, 4.0]], [[100.0]])
open(sys.argv[1], "w").write(json.dumps([one["mean"], two["mean"], two["sum"]]))
"""


def test_samples_and_shared_names_on_two_ranks(run_ranks):
    """The same values as one process has, also where a rank has no batch of a loader."""
    assert run_ranks(RANKS) == [[4.0, 22.0, 105.0]] * 2
