"""Parts of the tuner by themselves: suggestions, sizes, snapshots."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.tuner.lr_finder import LRFinder, learning_rates
from engine.tuner.sizes import largest
from engine.tuner.snapshot import Snapshot
from tests.engine.support.toy import Toy


def test_the_steepest_descent_is_suggested():
    """S169: not the lowest loss; ends and losses that are no numbers are left out."""
    found = LRFinder("linear", 0.0, 1.0, 8)
    found.results = {
        "lr": learning_rates("linear", 0.0, 7.0, 8),
        "loss": [9.0, 1.0, 1.0, 0.9, 0.2, 0.1, 0.1, float("nan")],
    }
    assert found.suggestion(skip_begin=1, skip_end=1) == 3.0
    assert found.suggestion(skip_begin=1, skip_end=0) == 3.0
    assert learning_rates("exponential", 1e-4, 1.0, 3) == pytest.approx([1e-4, 1e-2, 1.0])


@pytest.mark.parametrize(
    ("mode", "room", "first", "samples", "best"),
    [
        ("power", 100, 2, None, 64),
        ("binsearch", 100, 2, None, 100),
        ("binsearch", 100, 2, 70, 70),
        ("power", 3, 32, None, 2),
        ("binsearch", 3, 32, None, 3),
        ("power", 1, 2, None, 1),
        ("power", 0, 2, None, 0),
    ],
)
def test_the_largest_size_that_fits(mode, room, first, samples, best):
    """S172: by doubling, and by halving the rest; never more than there are samples."""
    tried = []

    def fits(size):
        tried.append(size)
        return size <= room

    assert largest(fits, mode, first, 25, lambda: samples) == best
    assert len(tried) == len(set(tried))
    assert largest(lambda size: True, mode, 2, 3, lambda: None) == 8


def test_a_snapshot_leaves_data_alone(monkeypatch):
    """Large tensors and arrays that are no weights are data: they are not copied."""
    monkeypatch.setattr("engine.tuner.snapshot.LARGE", 16)
    model = Toy()
    model.data, model.array, model.few = torch.ones(9), np.ones(9), np.ones(2)
    model.register_buffer("table", torch.ones(9))
    snapshot = Snapshot([model])
    for changed in (model.data, model.array, model.few, model.table):
        changed *= 2
    snapshot.restore()
    found = [float(one[0]) for one in (model.data, model.array, model.few, model.table)]
    assert found == [2.0, 2.0, 1.0, 1.0]


def test_a_snapshot_puts_back_what_was_done_to_it():
    """Objects stay the same: only their content is put back, views and types included."""
    model = Toy()
    base = torch.arange(6.0)
    model.view, model.wide = base[::2], base[:1].expand(4)
    model.layer_list = [model.net[0]]
    weight, before = model.net[0].weight, model.net[0].weight.detach().clone()
    snapshot = Snapshot([model])
    for _ in range(2):
        model.double()
        model.net[0].weight.data.mul_(2)
        weight.requires_grad = False
        base.zero_()
        model.extra, model.layer_list[0] = 1, None
        model.net = torch.nn.Linear(1, 1)
        snapshot.restore()
        assert model.net[0].weight is weight and torch.equal(weight, before)
        assert weight.requires_grad and model.layer_list == [model.net[0]]
        assert model.view.tolist() == [0, 2, 4] and model.wide.tolist() == [0] * 4
        assert not hasattr(model, "extra")
