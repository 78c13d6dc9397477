"""What is left of a step that a rank only takes part in: nothing."""

from __future__ import annotations

import random
from collections import deque

import pytest
import torch

from engine.loops.ends.uneven import unchanged


class Keeps(torch.nn.Module):
    """Keeps what it sees in all the ways that modules and metrics do."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.BatchNorm1d(2)
        self.register_buffer("seen", torch.zeros(2))
        self.outputs, self.by_loader = [], [[1], [2]]
        self.names, self.last, self.kinds = {"a": [1]}, deque([1, 2], maxlen=2), {1}
        self.total, self.count, self.parts = torch.zeros(()), 0, [torch.zeros(1)]

    def step(self):
        self.inner(torch.ones(3, 2))
        self.seen += 1
        self.outputs.append(torch.rand(2))
        self.by_loader[1].append(3)
        self.names["a"].append(2)
        self.names["b"] = 1
        self.last.append(random.random())
        self.kinds.add(2)
        self.total += 1
        self.parts[0] += 1
        self.parts = [*self.parts, torch.ones(1)]
        self.count += 1
        self.new = self.count


def test_a_step_leaves_no_trace():
    """Attributes, what is in them, buffers of all layers and the random state; the lists are the
    same ones. Also if it fails."""
    module = Keeps()
    lists, buffer = (module.outputs, module.by_loader[1], module.parts), module.seen
    before = torch.get_rng_state(), random.getstate()
    with pytest.raises(KeyError), unchanged(module):
        module.step()
        assert module.count == 1 and module.inner.num_batches_tracked == 1
        raise KeyError
    assert (module.count, module.outputs, module.by_loader) == (0, [], [[1], [2]])
    assert (module.names, module.kinds, [*module.last]) == ({"a": [1]}, {1}, [1, 2])
    assert module.total == 0 and module.parts == [torch.zeros(1)] and not hasattr(module, "new")
    assert module.seen.tolist() == [0, 0] and module.seen is buffer
    assert module.inner.num_batches_tracked == 0 and module.inner.running_mean.tolist() == [0, 0]
    same = (module.outputs, module.by_loader[1], module.parts)
    assert all(one is other for one, other in zip(lists, same, strict=True))
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
