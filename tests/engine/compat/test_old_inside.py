"""What programs take from the inside of Lightning 1.5: small functions, and numbers over ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.compat.shims.accelerators import find_free_network_port, pick_single_gpu
from engine.compat.shims.bars import get_standard_metrics
from engine.compat.utilities.sharing import (
    TensorRunningAccum,
    find_shared_parameters,
    set_shared_parameters,
)
from engine.compat.utilities.tensors import AllGatherGrad
from engine.compat.versions.numbers import multiplicative


def test_parameters_that_are_one_are_found_and_made_so_again() -> None:
    """By their names, whatever a move made of them."""
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    assert find_shared_parameters(model) == []
    model["b"].weight = model["a"].weight
    shared = find_shared_parameters(model)
    assert shared == [["a.weight", "b.weight"]]
    model["b"].weight = torch.nn.Parameter(torch.zeros(2, 2))
    assert set_shared_parameters(model, shared)["b"].weight is model["a"].weight


def test_the_last_values_come_to_a_mean() -> None:
    """Of a window: older values are forgotten."""
    running = TensorRunningAccum(3)
    assert running.last() is running.mean() is running.max() is running.min() is None
    for value in range(5):
        running.append(torch.tensor(value))
    found = (running.last(), running.mean(), running.max(), running.min())
    assert [float(one) for one in found] == [4.0, 3.0, 4.0, 2.0]
    running.reset(2)
    assert running.last() is None and running.window_length == 2


def test_small_functions(monkeypatch: Any) -> None:
    """A port, a GPU that is idle, a rate's factor, the run's number."""
    assert 0 < find_free_network_port() < 65536 and multiplicative(3) == 2.0
    monkeypatch.setattr("engine.compat.shims.accelerators.pick_idle", lambda count, all_of: [1, 3])
    assert pick_single_gpu() == 1 and pick_single_gpu([1]) == 3
    with pytest.raises(RuntimeError, match="no idle GPU"):
        pick_single_gpu([1, 3])

    class Shown:
        logger = None

    assert get_standard_metrics(Shown()) == {}


def test_gathering_alone_adds_a_dimension() -> None:
    """And gradients go back."""
    tensor = torch.ones(2, requires_grad=True)
    gathered = AllGatherGrad.apply(tensor)
    (gathered * 3).sum().backward()
    assert gathered.shape == (1, 2) and tensor.grad.tolist() == [3.0, 3.0]


PROGRAM = """
import json, sys, torch
import torch.distributed as dist
from engine.compat.utilities.tensors import AllGatherGrad
dist.init_process_group("gloo")
tensor = torch.tensor([1.0 + dist.get_rank()], requires_grad=True)
gathered = AllGatherGrad.apply(tensor)
(gathered * torch.tensor([[2.0], [5.0]]) * (1 + dist.get_rank())).sum().backward()
json.dump([gathered.tolist(), tensor.grad.item()], open(sys.argv[1], "w"))
dist.destroy_process_group()
"""


def test_gradients_of_what_was_gathered_are_those_of_all_ranks(run_ranks: Any) -> None:
    """Rank by rank, summed over what each rank made of it."""
    both = [[1.0], [2.0]]
    assert run_ranks(PROGRAM) == [[both, 6.0], [both, 15.0]]
