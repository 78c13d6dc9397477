"""Several optimizers: whose turn it is, and that each learns what it would in a plain loop."""

from __future__ import annotations

import random

import pytest
import torch
from torch.utils.data import DataLoader

from engine import Callback, LightningModule, MisconfigurationException
from tests.engine.support.toy import quiet, samples


def batches(dtype=torch.float64):
    return DataLoader(samples(28, dtype=dtype), batch_size=4)


class Layers(LightningModule):
    """One layer and one optimizer for each of `count`; all losses use all layers."""

    def __init__(self, count=2, frequencies=None, skips=(), intervals=()):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(count))
        self.frequencies, self.skips, self.intervals = frequencies, skips, intervals
        self.turns, self.rates = [], []

    def loss(self, x, idx):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return (x * (idx + 1)).square().mean() - x.mean()

    def training_step(self, batch, batch_idx, optimizer_idx):
        self.turns.append((batch_idx, optimizer_idx))
        if (batch_idx, optimizer_idx) in self.skips:
            return None
        return self.loss(batch[0], optimizer_idx)

    def configure_optimizers(self):
        optimizers = [
            torch.optim.SGD(layer.parameters(), lr=0.1 * (i + 1), momentum=0.9)
            for i, layer in enumerate(self.layers)
        ]
        if self.frequencies:
            pairs = zip(optimizers, self.frequencies, strict=True)
            return [{"optimizer": o, "frequency": n} for o, n in pairs]
        return optimizers, [
            {"scheduler": torch.optim.lr_scheduler.ExponentialLR(o, 0.9), "interval": interval}
            for o, interval in zip(optimizers, self.intervals, strict=False)
        ]


def flat(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def in_a_plain_loop(model, data, epochs, window, clip):
    """What a user without an engine would write; returns weights and the number of steps."""
    model.double()
    returned = model.configure_optimizers()
    frequencies = model.frequencies
    optimizers = [d["optimizer"] for d in returned] if frequencies else returned[0]
    schedulers = [] if frequencies else returned[1]
    order = [i for i, n in enumerate(frequencies or ()) for _ in range(n)]
    windows = steps = 0
    for _ in range(epochs):
        for first in range(0, len(data), window):
            part = list(enumerate(data))[first : first + window]
            due = [order[windows % len(order)]] if order else range(len(optimizers))
            grads = {i: None for i in due}
            stepped = set()
            for position, (batch_idx, batch) in enumerate(part):
                for i in due:
                    parameters = list(model.layers[i].parameters())
                    if (batch_idx, i) not in model.skips:
                        loss = model.loss(batch[0], i)
                        found = torch.autograd.grad(loss / window, parameters)
                        before = grads[i]
                        grads[i] = (
                            list(found)
                            if before is None
                            else [a + b for a, b in zip(before, found, strict=True)]
                        )
                    if position + 1 < len(part) or grads[i] is None:
                        continue
                    for parameter, grad in zip(parameters, grads[i], strict=True):
                        whole = len(part) == window
                        parameter.grad = grad if whole else grad * (window / len(part))
                    if clip:
                        torch.nn.utils.clip_grad_norm_(parameters, clip)
                    optimizers[i].step()
                    stepped.add(i)
            windows += 1
            steps += bool(stepped)
            for i, config in enumerate(schedulers):
                if config["interval"] == "step" and i in stepped:
                    config["scheduler"].step()
        for config in schedulers:
            if config["interval"] == "epoch":
                config["scheduler"].step()
    return flat(model), steps


@pytest.mark.filterwarnings("ignore:training_step returned None")
@pytest.mark.parametrize("seed", range(24))
def test_any_combination_is_a_plain_loop(tmp_path, seed):
    """Number of optimizers, frequencies, windows, clipping, schedulers, skipped steps: the same
    weights to the last bit."""
    draw = random.Random(seed)
    count = draw.choice([2, 3])
    options = {
        "count": count,
        "frequencies": draw.choice([None, [draw.randint(1, 3) for _ in range(count)]]),
        "skips": {(draw.randrange(7), draw.randrange(count)) for _ in range(draw.choice([0, 5]))},
        "intervals": draw.choice([(), ("step", "epoch", "step")]),
    }
    window, clip = draw.choice([1, 2, 3]), draw.choice([None, 0.01])
    model = Layers(**options)
    trainer = quiet(
        tmp_path,
        precision=64,
        max_epochs=2,
        accumulate_grad_batches=window,
        gradient_clip_val=clip,
    )
    trainer.fit(model, batches())
    expected, steps = in_a_plain_loop(Layers(**options), batches(), 2, window, clip)
    assert torch.equal(flat(model), expected)
    assert trainer.global_step == steps


def test_whose_turn_it_is(tmp_path):
    """S016, S036: once for each optimizer, in every batch, by its index."""
    model = Layers()
    trainer = quiet(tmp_path, limit_train_batches=2)
    trainer.fit(model, batches(torch.float32))
    assert model.turns == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert trainer.global_step == 2


def test_frequencies(tmp_path):
    """S040: five batches for one, one for the other, over 12 batches; epochs do not matter."""
    model = Layers(frequencies=(5, 1))
    quiet(tmp_path, max_epochs=3, limit_train_batches=4).fit(model, batches(torch.float32))
    assert [idx for _, idx in model.turns] == [0, 0, 0, 0, 0, 1] * 2


def test_the_others_learn_nothing_meanwhile(tmp_path):
    """S046: in each one's turn only its own parameters need gradients and have any, in every batch;
    what the user froze stays frozen, and after the turn all is as before."""
    seen, kept = [], []

    class Watched(Layers):
        def needs(self):
            return [[p.requires_grad for p in layer.parameters()] for layer in self.layers]

        def has(self):
            return [layer.weight.grad is not None for layer in self.layers]

        def training_step(self, batch, batch_idx, optimizer_idx):
            seen.append((self.needs(), self.has()[1 - optimizer_idx]))
            return super().training_step(batch, batch_idx, optimizer_idx)

        def on_after_backward(self):
            seen.append(self.has())

        def on_before_optimizer_step(self, optimizer, optimizer_idx):
            seen.append(self.has())

        def on_train_batch_end(self, outputs, batch, batch_idx):
            kept.append((self.needs(), self.has()))

    model = Watched()
    model.layers[1].bias.requires_grad_(False)
    quiet(tmp_path, limit_train_batches=3).fit(model, batches(torch.float32))
    first = [([[True, True], [False, False]], False), [True, False], [True, False]]
    second = [([[False, False], [True, False]], False), [False, True], [False, True]]
    assert seen == [*first, *second] * 3
    assert kept == [([[True, True], [True, False]], [True, True])] * 3


def test_a_turn_that_fails_leaves_nothing_behind(tmp_path):
    """All parameters need gradients again, for whoever goes on with the model."""

    class Fails(Layers):
        def training_step(self, batch, batch_idx, optimizer_idx):
            raise KeyError("a mistake")

    model = Fails()
    with pytest.raises(KeyError, match="a mistake"):
        quiet(tmp_path).fit(model, batches(torch.float32))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_hooks_know_the_optimizer(tmp_path):
    """Each override is told which optimizer it is, and may leave a step out."""
    calls = []

    class Hooked(Layers):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, closure, **kwargs):
            if optimizer_idx == 0 or batch_idx % 2 == 1:
                calls.append((batch_idx, optimizer_idx))
                optimizer.step(closure=closure)

        def configure_gradient_clipping(self, optimizer, optimizer_idx, value, algorithm):
            calls.append(("clip", optimizer_idx))

        def on_train_batch_end(self, outputs, batch, batch_idx):
            calls.append([output is not None for output in outputs])

        def training_epoch_end(self, outputs):
            calls.append([len(mine) for mine in outputs])

    model = Hooked()
    trainer = quiet(tmp_path, limit_train_batches=2)
    trainer.fit(model, batches(torch.float32))
    first = [(0, 0), ("clip", 0), [True, False]]
    second = [(1, 0), ("clip", 0), (1, 1), ("clip", 1), [True, True]]
    assert calls == [*first, *second, [2, 1]]
    assert trainer.global_step == 2


def test_the_batch_index_may_be_left_out(tmp_path):
    """`training_step(batch, optimizer_idx)`, with what comes after the step as well."""

    class Short(Layers):
        def training_step(self, batch, optimizer_idx):
            self.turns.append(optimizer_idx)
            return {"loss": self.loss(batch[0], optimizer_idx)}

        def training_step_end(self, output):
            self.turns.append(list(output))
            return output

    model = Short()
    quiet(tmp_path, limit_train_batches=1, precision="bf16").fit(model, batches(torch.float32))
    assert model.turns == [0, ["loss"], 1, ["loss"]]


def test_an_index_is_needed(tmp_path):
    """Without `optimizer_idx` the step could not know whose loss to return."""

    class Without(Layers):
        def training_step(self, batch, batch_idx):
            return self.loss(batch[0], 0)

    with pytest.raises(MisconfigurationException, match=r"2 optimizers.*optimizer_idx"):
        quiet(tmp_path).fit(Without(), batches(torch.float32))


@pytest.mark.parametrize("frequencies", [None, (2, 1)])
@pytest.mark.parametrize("stop", [5, 9])
def test_a_run_in_two_parts_is_a_run(tmp_path, frequencies, stop):
    """Optimizers, schedulers, and whose turn it was come out of the checkpoint."""

    class Saves(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == stop:
                trainer.save_checkpoint(tmp_path / "half.ckpt")
                self.turns = len(module.turns)

    def model():
        return Layers(frequencies=frequencies, intervals=("step", "epoch"))

    whole, second, saves = model(), model(), Saves()
    quiet(tmp_path, precision=64, max_epochs=2, callbacks=[saves]).fit(whole, batches())
    rest = quiet(tmp_path, precision=64, max_epochs=2)
    rest.fit(second, batches(), ckpt_path=str(tmp_path / "half.ckpt"))
    assert torch.equal(flat(whole), flat(second))
    assert second.turns == whole.turns[saves.turns :]
    assert rest.global_step == 14


def test_half_precision_scales_all_alike(tmp_path):
    """With a scaler each optimizer steps, and the scale is brought up to date once a batch."""
    model = Layers()
    trainer = quiet(tmp_path, precision=16, accumulate_grad_batches=2)
    trainer.fit(model, batches(torch.float32))
    assert trainer.global_step == 4
    assert not torch.equal(flat(model), flat(Layers()))


RANKS = """
import json, sys
import torch
from torch.utils.data import DataLoader, TensorDataset
from engine import Callback, LightningModule, Trainer

x = torch.randn(48, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


class Net(LightningModule):
    def __init__(self, frequencies):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))
        self.frequencies = frequencies

    def training_step(self, batch, batch_idx, optimizer_idx):
        if (batch_idx, optimizer_idx) == (2, 1):
            return None  # on all ranks
        y = torch.tanh(self.layers[1](torch.tanh(self.layers[0](batch[0]))))
        return (y * (optimizer_idx + 1)).square().mean() - y.mean()

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD(l.parameters(), lr=0.5, momentum=0.9) for l in self.layers]
        if not self.frequencies:
            return optimizers
        pairs = zip(optimizers, self.frequencies)
        return [{"optimizer": o, "frequency": n} for o, n in pairs]


results = []
for frequencies in (None, (2, 1)):
    for window in (1, 3):
        model = Net(frequencies)
        trainer = Trainer(
            max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu", precision=64, gradient_clip_val=0.05,
            accumulate_grad_batches=window,
        )
        world = trainer.world_size
        trainer.fit(model, DataLoader(TensorDataset(x), batch_size=12 // world))
        weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
        results.append([weights, trainer.global_step])
json.dump(results, open(sys.argv[1], "w"))
"""


def test_two_ranks_are_one(run_ranks):
    """With windows, clipping, frequencies and a skipped step: two ranks learn what one would."""
    alone = run_ranks(RANKS, 1)[0]
    for rank in run_ranks(RANKS, 2):
        for (weights, steps), (expected, expected_steps) in zip(rank, alone, strict=True):
            assert steps == expected_steps
            assert weights == pytest.approx(expected, abs=1e-12)
