"""Whatever is combined with whatever: a fit is the plain loop that one would write by hand.

In 64 bits and, as gradients are added up in the same order, to the last bit.
"""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import quiet, weights

from engine import LightningModule

pytestmark = [
    pytest.mark.filterwarnings("ignore:training_step returned None"),
    # An epoch may end before an optimizer has had its first turn.
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
]

BATCHES, STEPS, EPOCHS = 5, 4, 3


def batches():
    """A plain list of batches: sequences of a few steps."""
    generator = torch.Generator().manual_seed(11)
    shape = (2, STEPS, 3)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(BATCHES)]


@dataclass(frozen=True)
class Case:
    """One combination."""

    count: int  # of optimizers
    frequencies: tuple[int, ...]  # of each, or none
    windows: tuple[int, ...]  # batches a step in each epoch
    clip: tuple[str, float] | None
    schedules: tuple[tuple[str, int], ...]  # interval and frequency of each optimizer's scheduler
    skips: frozenset[tuple[int, int, int]]  # epoch, batch and optimizer without a loss
    size: int  # of the splits of truncated back-propagation, or 0

    def due(self, windows):
        """Which optimizers have their turn after so many windows."""
        turns = [idx for idx, often in enumerate(self.frequencies) for _ in range(often)]
        return [turns[windows % len(turns)]] if turns else [*range(self.count)]


@st.composite
def cases(draw):
    count = draw(st.integers(1, 3))
    each = dict.fromkeys(("min_size", "max_size"), count)
    plan = st.tuples(st.sampled_from(["step", "epoch"]), st.integers(1, 2))
    skip = st.tuples(
        st.integers(0, EPOCHS - 1), st.integers(0, BATCHES - 1), st.integers(0, count - 1)
    )
    turns = st.lists(st.integers(1, 3), **each) if count > 1 else st.just([])
    clips = st.sampled_from([None, ("norm", 0.02), ("value", 0.01)])
    return Case(
        count,
        tuple(draw(st.one_of(st.just([]), turns))),
        tuple(draw(st.lists(st.integers(1, 3), min_size=EPOCHS, max_size=EPOCHS))),
        draw(clips),
        tuple(draw(st.one_of(st.just([]), st.lists(plan, **each)))),
        draw(st.frozensets(skip, max_size=8)),
        draw(st.sampled_from([0, 0, 1, 3, 4])),
    )


class Net(LightningModule):
    """Layers in a row, fed back from one time step to the next, each with an optimizer."""

    def __init__(self, case):
        super().__init__()
        torch.manual_seed(3)
        self.case = case
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(3))
        self.double()

    def loss(self, x, idx, state):
        state = torch.zeros_like(x[:, 0]) if state is None else state
        losses = []
        for step in range(x.shape[1]):
            for layer in self.layers:
                state = torch.tanh(layer(x[:, step] + state))
            losses.append((state * (idx + 1)).square().mean() - state.mean())
        return torch.stack(losses).mean(), state

    def parts(self):
        """The parameters of each optimizer."""
        count = self.case.count
        return [
            [parameter for layer in self.layers[idx::count] for parameter in layer.parameters()]
            for idx in range(count)
        ]

    def made(self):
        """Optimizers, and a scheduler for each or none."""
        optimizers = [
            torch.optim.SGD(part, lr=0.3 * (idx + 1), momentum=0.9, weight_decay=0.01)
            for idx, part in enumerate(self.parts())
        ]
        rates = [
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
            for optimizer, _ in zip(optimizers, self.case.schedules, strict=False)
        ]
        return optimizers, rates

    def configure_optimizers(self):
        optimizers, rates = self.made()
        plans = [
            {"scheduler": rate, "interval": interval, "frequency": often}
            for rate, (interval, often) in zip(rates, self.case.schedules, strict=True)
        ]
        if not self.case.frequencies:
            return optimizers, plans
        together = [
            {"optimizer": optimizer, "frequency": often}
            for optimizer, often in zip(optimizers, self.case.frequencies, strict=True)
        ]
        for one, plan in zip(together, plans, strict=False):
            one["lr_scheduler"] = plan
        return together

    def one_step(self, batch, batch_idx, idx, state):
        if (self.current_epoch, batch_idx, idx) in self.case.skips:
            return None
        loss, after = self.loss(batch, idx, state)
        return {"loss": loss, "hiddens": after}


class Alone(Net):
    def training_step(self, batch, batch_idx):
        return self.one_step(batch, batch_idx, 0, None)


class Several(Net):
    def training_step(self, batch, batch_idx, optimizer_idx):
        return self.one_step(batch, batch_idx, optimizer_idx, None)


class AloneInSplits(Net):
    def training_step(self, batch, batch_idx, hiddens):
        return self.one_step(batch, batch_idx, 0, hiddens)


class SeveralInSplits(Net):
    def training_step(self, batch, batch_idx, optimizer_idx, hiddens):
        return self.one_step(batch, batch_idx, optimizer_idx, hiddens)


def by_hand(case):
    """The plain loop; returns weights, rates, and the number of batches with a step."""
    net = Net(case)
    optimizers, schedulers = net.made()
    parts, taken = net.parts(), [0] * case.count
    windows = steps = 0
    for epoch in range(EPOCHS):
        length = case.windows[epoch]
        sums = {}
        for batch_idx, batch in enumerate(batches()):
            place = batch_idx % length + 1
            ends = place == length or batch_idx + 1 == BATCHES
            splits = batch.split(case.size, 1) if case.size else [batch]
            shares = length * len(splits) if length > 1 else 1
            states, stepped = {}, set()
            for number, split in enumerate(splits, 1):
                for idx in case.due(windows):
                    if (epoch, batch_idx, idx) not in case.skips:
                        loss, state = net.loss(split, idx, states.get(idx))
                        states[idx] = state.detach()
                        grads = torch.autograd.grad(loss / shares, parts[idx])
                        before = sums.get(idx)
                        if before is not None:
                            grads = [a + b for a, b in zip(before, grads, strict=True)]
                        sums[idx] = grads
                    if not ends or (length > 1 and number < len(splits)):
                        continue
                    grads = sums.pop(idx, None)
                    if grads is None:
                        continue
                    for parameter, grad in zip(parts[idx], grads, strict=True):
                        parameter.grad = grad if place == length else grad * (length / place)
                    if case.clip:
                        kind, value = case.clip
                        getattr(torch.nn.utils, f"clip_grad_{kind}_")(parts[idx], value)
                    optimizers[idx].step()
                    stepped.add(idx)
            windows += ends
            steps += bool(stepped)
            for idx, (interval, often) in enumerate(case.schedules):
                taken[idx] += idx in stepped
                if interval == "step" and idx in stepped and taken[idx] % often == 0:
                    schedulers[idx].step()
        for idx, (interval, often) in enumerate(case.schedules):
            if interval == "epoch" and (epoch + 1) % often == 0:
                schedulers[idx].step()
    return weights(net), [optimizer.param_groups[0]["lr"] for optimizer in optimizers], steps


def fitted(case, folder, data):
    """The engine's trainer and model, after the same."""
    kind = {
        (True, False): Alone,
        (True, True): AloneInSplits,
        (False, False): Several,
        (False, True): SeveralInSplits,
    }[case.count == 1, bool(case.size)]
    algorithm, value = case.clip or ("norm", None)
    model = kind(case)
    trainer = quiet(
        folder,
        precision=64,
        max_epochs=EPOCHS,
        accumulate_grad_batches=dict(enumerate(case.windows)),
        gradient_clip_val=value,
        gradient_clip_algorithm=algorithm,
        truncated_bptt_steps=case.size,
    )
    trainer.fit(model, data)
    return trainer, model


@given(case=cases())
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_combination_is_the_plain_loop(case):
    """S044, S145, S163, S020, S040: accumulation by epoch, clipping by norm or value, one optimizer
    or several with frequencies, schedulers by step and epoch, skipped steps, truncated
    back-propagation: the same weights, learning rates and steps, to the last bit."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, model = fitted(case, folder, batches())
    expected, rates, steps = by_hand(case)
    assert torch.equal(weights(model), expected)
    assert [one.param_groups[0]["lr"] for one in trainer.optimizers] == rates
    assert trainer.global_step == steps


def drawn(number):
    """One combination of all, by these dice: the same in each of several processes."""
    dice = random.Random(number)
    count = dice.randint(1, 3)
    skips = [
        (dice.randrange(EPOCHS), dice.randrange(BATCHES), dice.randrange(count))
        for _ in range(dice.randint(0, 4))
    ]
    return Case(
        count,
        dice.choice([(), tuple(dice.randint(1, 3) for _ in range(count))]) if count > 1 else (),
        tuple(dice.randint(1, 3) for _ in range(EPOCHS)),
        dice.choice([None, ("norm", 0.02), ("value", 0.01)]),
        dice.choice(
            [(), tuple((dice.choice(["step", "epoch"]), dice.randint(1, 2)) for _ in range(count))]
        ),
        frozenset(skips),
        dice.choice([0, 0, 1, 3, 4]),
    )


ON_RANKS = [
    Case(1, (), (1, 2, 3), ("norm", 0.02), (("step", 1),), frozenset({(1, 1, 0), (2, 4, 0)}), 0),
    Case(1, (), (2, 1, 3), ("value", 0.01), (("epoch", 1),), frozenset({(0, 0, 0)}), 3),
    Case(2, (), (1, 2, 2), None, (("step", 2), ("epoch", 1)), frozenset({(0, 3, 1)}), 0),
    Case(2, (2, 1), (2, 1, 1), ("norm", 0.02), (), frozenset({(0, 2, 0), (0, 3, 0)}), 4),
    Case(3, (1, 2, 1), (1, 3, 1), None, (), frozenset({(0, 1, 1), (2, 2, 0)}), 1),
    *(drawn(number) for number in range(20)),
]
RANKS = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import test_exact_arithmetic as exact

rank, results = int(os.environ["RANK"]), []
for case in exact.ON_RANKS:
    trainer, model = exact.fitted(case, os.getcwd(), [b[rank : rank + 1] for b in exact.batches()])
    rates = [one.param_groups[0]["lr"] for one in trainer.optimizers]
    results.append([exact.weights(model).tolist(), rates, trainer.global_step])
json.dump(results, open(sys.argv[1], "w"))
"""


def test_two_ranks_are_the_plain_loop(run_ranks):
    """S020, S163: two ranks with half of each batch learn what the plain loop learns from all of
    it, to 1e-12, and the very same as each other."""
    here = Path(__file__).parent
    paths = {"PYTHONPATH": f"{here.parents[1]}{os.pathsep}{here}"}
    zero, one = run_ranks(RANKS, 2, env=paths)
    assert zero == one
    for case, (found, rates, steps) in zip(ON_RANKS, zero, strict=True):
        expected, expected_rates, expected_steps = by_hand(case)
        assert found == pytest.approx(expected.tolist(), abs=1e-12)
        assert (rates, steps) == (expected_rates, expected_steps)
