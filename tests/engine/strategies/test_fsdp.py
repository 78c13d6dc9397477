"""Fully sharded training on two real ranks: the same numbers, and checkpoints that are whole."""

from __future__ import annotations

import pytest
import torch

from engine.strategies.fsdp import blocks_of
from tests.engine.strategies.test_ranks import COMMON

PROGRAM = (
    COMMON
    + """
import os
from torch.distributed.tensor import DTensor
world = int(os.environ.get("WORLD_SIZE", 1))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = torch.nn.Linear(5, 7), torch.nn.Linear(7, 5)

    def forward(self, x):
        return x + self.two(torch.tanh(self.one(x)))


class Deep(Net):
    def __init__(self, seed=3):
        super().__init__()
        torch.manual_seed(seed)
        self.net = torch.nn.Linear(4, 5)
        self.blocks = torch.nn.ModuleList([Block(), Block()])
        self.last = torch.nn.Linear(5, 2)
        self.scale = torch.nn.Parameter(torch.ones(3))  # used in the step, in no block
        self.register_buffer("seen_batches", torch.zeros(()))
        self.kinds = set()

    def loss(self, batch):
        x = self.net(batch[0])
        for block in self.blocks:
            x = block(x)
        y = self.last(x) * self.scale.sum()
        return torch.nn.functional.cross_entropy(y, batch[1])

    def training_step(self, batch, batch_idx):
        self.seen_batches += 1
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, *_):
        self.kinds = {isinstance(p, DTensor) for p in self.parameters()}

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.05)


def whole(module):
    return [
        (p.full_tensor() if isinstance(p, DTensor) else p).detach().flatten().tolist()
        for p in module.parameters()
    ]


def train(model, epochs, path=None, **options):
    t = trainer(max_epochs=epochs, strategy="fsdp", accumulate_grad_batches=2,
                gradient_clip_val=0.1, **options)
    t.fit(model, DataLoader(data, batch_size=8 // world), DataLoader(data, batch_size=5),
          ckpt_path=path)
    return t


# Each rank has drawn weights of its own; those of rank zero count.
model = Deep(3 + int(os.environ.get("RANK", 0)))
t = train(model, 2)
t.save_checkpoint("two.ckpt")
weights = whole(model)
metrics = numbers(t.callback_metrics)
tested = t.validate(model, DataLoader(data, batch_size=5), verbose=False)
if world == 2:  # also into a module that is divided already
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    loads = dict(ckpt_path="two.ckpt", verbose=False)
    assert t.validate(model, DataLoader(data, batch_size=5), **loads) == tested
resumed = Deep(9)
train(resumed, 3, "two.ckpt")
straight = Deep()
train(straight, 3)
elsewhere = None
if world == 1:
    other = Deep(9)
    train(other, 3, "of-two-ranks.ckpt")
    elsewhere = whole(other)
if world == 2 and t.is_global_zero:
    os.replace("two.ckpt", "of-two-ranks.ckpt")
done(weights=weights, metrics=metrics, kinds=sorted(model.kinds), tested=tested,
     steps=t.global_step, resumed=whole(resumed), straight=whole(straight), elsewhere=elsewhere,
     kind=type(t.strategy).__name__)
"""
)


def test_two_ranks_share_one_model(run_ranks, tmp_path):
    """S157: with clipping over all shards and accumulation, two ranks learn what one does with
    batches of both; a checkpoint is that of an unsharded module, and a run that resumes from it,
    on as many ranks or on one, ends with the weights of one that was never interrupted.
    """
    first, second = run_ranks(PROGRAM, ranks=2)
    saved = torch.load(tmp_path / "of-two-ranks.ckpt", weights_only=True)
    (alone,) = run_ranks(PROGRAM, ranks=1)

    assert (first["kind"], alone["kind"]) == ("FSDP", "Strategy")
    assert (first["kinds"], alone["kinds"]) == ([True], [False])
    assert first["weights"] == second["weights"]
    for mine, other in zip(first["weights"], alone["weights"], strict=True):
        assert mine == pytest.approx(other, abs=1e-6)
    assert first["steps"] == alone["steps"] == 6
    assert first["metrics"] == pytest.approx(alone["metrics"], rel=1e-5)
    assert first["tested"][0] == pytest.approx(alone["tested"][0], rel=1e-5)
    assert first["resumed"] == first["straight"]
    for mine, other in zip(alone["elsewhere"], alone["straight"], strict=True):
        assert mine == pytest.approx(other, abs=1e-6)
    assert saved["state_dict"]["blocks.1.one.weight"].shape == (7, 5)
    state = saved["optimizer_states"][0]["state"]
    assert len(state) == 13 and state[0]["exp_avg"].numel() == 3
    assert not any(hasattr(value, "full_tensor") for value in saved["state_dict"].values())


SIZES = (
    COMMON
    + """
from engine.loggers import TensorBoardLogger


class Sized(Net):
    def __init__(self):
        super().__init__()
        self.example_input_array = torch.zeros(7, 4)

    def forward(self, x):
        return self.net(x)


logger = TensorBoardLogger("logs", log_graph=True)
t = trainer(max_epochs=1, strategy="fsdp", enable_model_summary=True, logger=logger)
t.fit(Sized(), DataLoader(data, batch_size=8))
done(steps=t.global_step)
"""
)


def test_the_example_runs_through_a_model_that_is_divided(run_ranks):
    """S034: all ranks do it together, and one prints the sizes; that there is no graph is said."""
    first, second = run_ranks(SIZES, ranks=2)
    (_, said), (_, other) = run_ranks.output
    assert first["steps"] == second["steps"] == 3
    assert "[7, 4]    [7, 2]" in said and "In sizes" not in other
    assert "log_graph=True: a model that is divided" in said


def test_what_is_gathered_at_a_time():
    """The elements of module lists; else the children; not what shares a parameter."""
    linear = torch.nn.Linear
    many = torch.nn.Module()
    many.embedding = linear(2, 2)
    many.layers = torch.nn.ModuleList([linear(2, 2), linear(2, 2)])
    assert blocks_of(many) == list(many.layers)

    net = torch.nn.Module()
    net.net = torch.nn.Sequential(linear(2, 2), torch.nn.Tanh(), linear(2, 2))
    assert blocks_of(net) == [net.net[0], net.net[2]]

    net.net[2].weight = net.net[0].weight
    assert blocks_of(net) == []
