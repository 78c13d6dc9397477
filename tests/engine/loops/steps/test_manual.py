"""Manual optimisation: the module steps, and steps, checkpoints and metrics still count right."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.data import DataLoader

from engine import Callback, LightningModule, MisconfigurationException
from engine.callbacks import ModelCheckpoint
from tests.engine.support.toy import quiet, samples

WINDOW = 3


def batches(dtype=torch.float64):
    return DataLoader(samples(28, dtype=dtype), batch_size=4)


class Gan(LightningModule):
    """Two layers, two optimizers; the first accumulates by hand, both clip and are toggled."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.automatic_optimization = False
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))

    def loss(self, x, idx):
        y = torch.tanh(self.layers[1](torch.tanh(self.layers[0](x))))
        return (y * (idx + 1)).square().mean() - y.mean()

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        ends = (batch_idx + 1) % WINDOW == 0
        self.toggle_optimizer(first, 0)
        self.manual_backward(self.loss(batch[0], 0) / WINDOW)
        if ends:
            self.clip_gradients(first, 0.01, "norm")
            first.step()
            first.zero_grad()
        self.untoggle_optimizer(0)
        if batch_idx % 2:
            with second.toggle_model():
                loss = self.loss(batch[0], 1)
                second.zero_grad()
                self.manual_backward(loss)
                second.step()
            self.lr_schedulers()[1].step()
        self.log("loss", self.loss(batch[0], 0), on_step=True)

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD(one.parameters(), lr=0.1) for one in self.layers]
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in optimizers]


def flat(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def in_a_plain_loop(model, data, epochs):
    """The same without an engine; returns weights, and batches after which one had stepped."""
    model.double()
    (first, second), schedulers = model.configure_optimizers()
    steps = 0
    for _ in range(epochs):
        for batch_idx, batch in enumerate(data):
            ends = (batch_idx + 1) % WINDOW == 0
            (model.loss(batch[0], 0) / WINDOW).backward(inputs=list(model.layers[0].parameters()))
            if ends:
                torch.nn.utils.clip_grad_norm_(model.layers[0].parameters(), 0.01)
                first.step()
                first.zero_grad()
            if batch_idx % 2:
                second.zero_grad()
                model.loss(batch[0], 1).backward(inputs=list(model.layers[1].parameters()))
                second.step()
                schedulers[1].step()
            steps += bool(ends or batch_idx % 2)
    return flat(model), steps


def test_it_is_the_plain_loop(tmp_path):
    """The same weights to the last bit; a batch after which any had stepped is a step; what the
    module's schedulers do is the module's business."""
    model = Gan()
    trainer = quiet(tmp_path, precision=64, max_epochs=2)
    trainer.fit(model, batches())
    expected, steps = in_a_plain_loop(Gan(), batches(), 2)
    assert torch.equal(flat(model), expected)
    assert trainer.global_step == steps == 8
    assert trainer.lr_scheduler_configs[0].scheduler.get_last_lr() == [0.1]
    assert "loss" in trainer.callback_metrics
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:the checkpoint holds states of callbacks")
def test_checkpoints_are_saved_and_resumed_from(tmp_path):
    """By steps as ever; a run that goes on from one is the run that was not interrupted."""

    class Plain(Gan):
        def training_step(self, batch, batch_idx):
            for idx, optimizer in enumerate(self.optimizers()):
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch[0], idx))
                optimizer.step()

    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)
    whole, rest = Plain(), Plain()
    trainer = quiet(
        tmp_path, precision=64, max_epochs=2, callbacks=[keeper], enable_checkpointing=True
    )
    trainer.fit(whole, batches())
    assert trainer.global_step == 14
    assert (tmp_path / "step=10.ckpt").exists()
    second = quiet(tmp_path, precision=64, max_epochs=2)
    second.fit(rest, batches(), ckpt_path=str(tmp_path / "step=5.ckpt"))
    assert second.global_step == 14
    assert torch.equal(flat(whole), flat(rest))


def test_training_ends_at_max_steps(tmp_path):
    """Steps taken by hand are steps."""
    trainer = quiet(tmp_path, max_steps=3)
    trainer.fit(Gan(), batches(torch.float32))
    assert trainer.global_step == 3


@pytest.mark.parametrize("precision", [16, "bf16", 32])
def test_one_optimizer_with_hooks_in_any_precision(tmp_path, precision):
    """A single optimizer is no list; several steps a batch, a closure, and hooks that see real
    gradients, whatever the loss was scaled by."""
    seen, norms = [], []

    class Single(Gan):
        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            assert isinstance(optimizer, torch.optim.SGD)
            for _ in range(2):
                optimizer.zero_grad()
                loss = self.loss(batch[0], 0)
                self.manual_backward(loss)
                self.clip_gradients(optimizer, 100.0, "norm")
                optimizer.step()
            optimizer.zero_grad()

            def closure():
                loss = self.loss(batch[0], 0)
                self.manual_backward(loss)
                return loss

            returned = optimizer.step(closure=closure)
            assert returned is not None
            return {"loss": loss, "extra": 1}

        def on_before_optimizer_step(self, optimizer, optimizer_idx):
            seen.append(optimizer_idx)
            norms.append(max(float(p.grad.abs().max()) for p in self.parameters()))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Outputs(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            assert outputs["extra"] == 1
            assert not outputs["loss"].requires_grad

    trainer = quiet(tmp_path, precision=precision, limit_train_batches=2, callbacks=[Outputs()])
    model = Single()
    trainer.fit(model, batches(torch.float32))
    assert seen == [0] * 6
    # The first scale is too big for 16 bits: such a step is left out, and the scale halved.
    assert max(norm for norm in norms if math.isfinite(norm)) < 10
    assert math.isfinite(norms[-1])
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model), flat(Gan()))
    assert trainer.global_step == 2


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"gradient_clip_val": 1.0}, "gradient_clip_val.*clip_gradients"),
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches.*yourself"),
    ],
)
def test_what_only_automatic_optimisation_does_is_refused(tmp_path, option, words):
    """Not ignored; the message says what to write instead."""
    with pytest.raises(MisconfigurationException, match=words):
        quiet(tmp_path, **option).fit(Gan(), batches(torch.float32))


def test_a_manual_backward_in_automatic_optimisation_is_explained(tmp_path):
    """The loss would be learned from twice."""

    class Automatic(Gan):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = True

        def training_step(self, batch, batch_idx, optimizer_idx):
            self.manual_backward(self.loss(batch[0], 0))

    with pytest.raises(MisconfigurationException, match="automatic_optimization = False"):
        quiet(tmp_path).fit(Automatic(), batches(torch.float32))


RANKS = """
import json, sys
import torch
from torch.utils.data import DataLoader, TensorDataset
from engine import LightningModule, Trainer

x = torch.randn(48, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


class Gan(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.automatic_optimization = False
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))

    def training_step(self, batch, batch_idx):
        ends = batch_idx % 2 == 1
        for idx, optimizer in enumerate(self.optimizers()):
            with optimizer.toggle_model(sync_grad=ends):
                y = torch.tanh(self.layers[1](torch.tanh(self.layers[0](batch[0]))))
                self.manual_backward((y * (idx + 1)).square().mean() - y.mean())
                if ends:
                    self.clip_gradients(optimizer, 0.05, "norm")
                    optimizer.step()
                    optimizer.zero_grad()

    def configure_optimizers(self):
        return [torch.optim.SGD(one.parameters(), lr=0.5, momentum=0.9) for one in self.layers]


model = Gan()
if "1" in __import__("os").environ.get("RANK", "0"):
    torch.nn.init.zeros_(model.layers[0].weight)  # rank zero's weights count
trainer = Trainer(
    max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, accelerator="cpu", precision=64,
)
trainer.fit(model, DataLoader(TensorDataset(x), batch_size=12 // trainer.world_size))
weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
json.dump([weights, trainer.global_step], open(sys.argv[1], "w"))
"""


def test_two_ranks_are_one(run_ranks):
    """Gradients of a window are averaged once, at its end, before they are clipped."""
    expected, steps = run_ranks(RANKS, 1)[0]
    for weights, steps_here in run_ranks(RANKS, 2):
        assert steps_here == steps == 4
        assert weights == pytest.approx(expected, abs=1e-12)
