"""Combinations of all that changes what a step learns, and the plain loop for each of them."""

from __future__ import annotations

import os
import tempfile
import traceback
import warnings
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from engine import LightningModule
from tests.engine.support.toy import quiet, weights

BATCHES, STEPS, EPOCHS = 5, 4, 3
RATE = 0.03  # small enough that what differs in the last bit stays there


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
    skips: frozenset[tuple[int, int, int, int | None]]  # epoch, batch, optimizer and rank, or all
    size: int  # of the splits of truncated back-propagation, or 0
    stepping: str  # how the module's `optimizer_step` steps, if it has one

    def skips_here(self, epoch, batch_idx, idx, rank):
        """Whether this rank has no loss then."""
        return any((epoch, batch_idx, idx, who) in self.skips for who in (None, rank))

    def due(self, windows):
        """Which optimizers have their turn after so many windows."""
        turns = [idx for idx, often in enumerate(self.frequencies) for _ in range(often)]
        return [turns[windows % len(turns)]] if turns else [*range(self.count)]


STEPPING = ["not overridden", "with the closure", "with one around it", "after the closure"]


@st.composite
def cases(draw):
    count = draw(st.integers(1, 3))
    each = dict.fromkeys(("min_size", "max_size"), count)
    plan = st.tuples(st.sampled_from(["step", "epoch"]), st.integers(1, 2))
    skip = st.tuples(
        st.integers(0, EPOCHS - 1),
        st.integers(0, BATCHES - 1),
        st.integers(0, count - 1),
        st.sampled_from([None, None, 0, 1]),
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
        draw(st.sampled_from(STEPPING)),
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
            torch.optim.SGD(part, lr=RATE * (idx + 1), momentum=0.9, weight_decay=0.01)
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
        if self.case.skips_here(self.current_epoch, batch_idx, idx, self.global_rank):
            return None
        loss, after = self.loss(batch, idx, state)
        return {"loss": loss, "hiddens": after}


class Stepping(Net):
    """Steps its optimizers itself."""

    def optimizer_step(
        self, epoch, batch_idx, optimizer, idx, closure, on_tpu=False, amp=False, lbfgs=False
    ):
        if self.case.stepping == "with the closure":
            optimizer.step(closure=closure)
        elif self.case.stepping == "with one around it":
            optimizer.step(closure=lambda: closure())
        else:
            closure()
            optimizer.step()


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


def by_hand(case, ranks=1):
    """The plain loop, in which each rank has its share of a batch, and the loss is the mean of all.

    Returns weights, rates, and the number of batches with a step.
    """
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
                    losses = []
                    for rank in range(ranks):
                        if case.skips_here(epoch, batch_idx, idx, rank):
                            continue
                        loss, state = net.loss(split[rank::ranks], idx, states.get((idx, rank)))
                        states[idx, rank] = state.detach()
                        losses.append(loss / ranks)
                    if losses:
                        grads = torch.autograd.grad(sum(losses) / shares, parts[idx])
                        before = sums.get(idx)
                        if before is not None:
                            grads = [a + b for a, b in zip(before, grads, strict=True)]
                        sums[idx] = grads
                    if not ends or (length > 1 and number < len(splits)):
                        continue
                    grads = sums.pop(idx, None)
                    if grads is not None:
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


def fitted(case, data):
    """What the engine makes of the same: weights, rates, and the number of batches with a step."""
    kind = {
        (True, False): Alone,
        (True, True): AloneInSplits,
        (False, False): Several,
        (False, True): SeveralInSplits,
    }[case.count == 1, bool(case.size)]
    if case.stepping != STEPPING[0]:
        kind = type(kind.__name__, (Stepping, kind), {})
    algorithm, value = case.clip or ("norm", None)
    model = kind(case)
    with tempfile.TemporaryDirectory() as folder:
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
    rates = [one.param_groups[0]["lr"] for one in trainer.optimizers]
    return weights(model), rates, trainer.global_step


def serve(rank, port, asked):
    """One of two ranks: answers each case with what its share of the data makes of it."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        GLOO_SOCKET_IFNAME="lo",
    )
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    while (case := asked.recv()) is not None:
        try:
            found, *rest = fitted(case, [batch[rank : rank + 1] for batch in batches()])
            asked.send((found.tolist(), *rest))
        except BaseException:
            asked.send(traceback.format_exc())
            raise
