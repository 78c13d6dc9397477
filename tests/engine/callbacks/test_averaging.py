"""Averaged weights: SWA and moving averages."""

from __future__ import annotations

import json

import pytest
import torch

from engine import Trainer
from engine.callbacks import Callback, EMAWeightAveraging, StochasticWeightAveraging
from engine.callbacks.training.annealing import annealed
from engine.callbacks.training.swa import first_epoch
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet, weights


class Normed(Toy):
    """With batch norm, and a scheduler that would change the rate."""

    validation_step = None

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)

    def forward(self, x):
        return self.norm(self.net(x))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


class Watch(Callback):
    def __init__(self):
        self.weights, self.rates = [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.weights.append(weights(pl_module))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def averaged(folder, swa, path=None, epochs=5, **options):
    watch, model = Watch(), Normed()
    trainer = quiet(folder, max_epochs=epochs, callbacks=[swa, watch], **options)
    trainer.fit(model, loader(), ckpt_path=path)
    return watch, model, trainer


def statistics_of(model):
    """Batch norm's, of all batches with the present weights: computed by hand."""
    outputs = [model.net(batch[0]).detach() for batch in loader()]
    mean = torch.stack([o.mean(0) for o in outputs]).mean(0)
    return mean, torch.stack([o.var(0) for o in outputs]).mean(0)


def test_the_weights_are_the_mean_of_the_last_epochs(tmp_path):
    """S180: at the end the module has the average, batch norm the statistics that belong to it;
    from the first averaged epoch on the rate goes to swa_lrs and the scheduler rests."""
    swa = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=3, annealing_epochs=2)
    watch, model, _ = averaged(tmp_path, swa)
    mean = torch.stack(watch.weights[2:]).mean(0)
    assert torch.allclose(weights(model), mean, rtol=0, atol=1e-6)
    for found, right in zip(
        (model.norm.running_mean, model.norm.running_var), statistics_of(model), strict=True
    ):
        assert torch.allclose(found, right, rtol=0, atol=1e-6)
    assert model.norm.momentum == 0.1 and swa.n_averaged == 3
    middle = annealed("cos", 0.025, 0.05, 1, 2)
    assert watch.rates == pytest.approx([0.05, 0.025, 0.025, middle, 0.05])


@pytest.mark.parametrize("step", [24, 33])
def test_a_resumed_average_is_the_same(tmp_path, step):
    """S180: a fit that goes on from a checkpoint, of an epoch's end or of the middle of the last
    epoch, ends with the same weights, to the last bit."""

    class Saves(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.global_step == step and step == 33:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.global_step == step:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    def swa():
        return StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=3, annealing_epochs=4)

    first = Normed()
    quiet(tmp_path, max_epochs=6, callbacks=[swa(), Saves()]).fit(first, loader())
    watch, second, _ = averaged(tmp_path, swa(), tmp_path / "a.ckpt", epochs=6)
    assert len(watch.weights) == (2 if step == 24 else 1) and torch.equal(
        weights(first), weights(second)
    )
    assert torch.equal(first.norm.running_var, second.norm.running_var)


def test_the_arguments_of_swa(tmp_path):
    """S180: the Trainer's flag adds it; avg_fn, linear annealing, a start as a share."""
    trainer = quiet(tmp_path, stochastic_weight_avg=True)
    assert any(isinstance(c, StochasticWeightAveraging) for c in trainer.callbacks)
    assert [annealed("linear", 1.0, 2.0, done, 2) for done in (0, 1, 2, 3)] == [1.0, 1.5, 2.0, 2.0]
    assert annealed("cos", 1.0, 2.0, 0, 0) == 2.0
    assert (first_epoch(0.8, 10), first_epoch(0.0, 10), first_epoch(1, None)) == (7, 0, 0)
    with pytest.raises(MisconfigurationException, match="share of max_epochs"):
        first_epoch(0.8, -1)
    with pytest.raises(MisconfigurationException, match="cos, linear, not 'exp'"):
        StochasticWeightAveraging(annealing_strategy="exp")
    with pytest.raises(MisconfigurationException, match="swa_lrs=-1"):
        StochasticWeightAveraging(swa_lrs=-1)
    with pytest.raises(MisconfigurationException, match="swa_epoch_start=0"):
        StochasticWeightAveraging(swa_epoch_start=0)
    last = StochasticWeightAveraging(0.1, 4, avg_fn=lambda average, value, count: value)
    watch, model, _ = averaged(tmp_path, last)
    assert torch.equal(weights(model), watch.weights[-1])


def test_two_ranks_average_alike(run_ranks):
    """S180: with two ranks weights and statistics are the same on both at the end."""
    one, other = run_ranks("""
import json, sys
from engine import Trainer
from engine.callbacks import StochasticWeightAveraging
from tests.engine.callbacks.test_averaging import Normed, loader, weights
model = Normed()
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=3, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=StochasticWeightAveraging(0.05, 2))
trainer.fit(model, loader())
found = [*weights(model).tolist(), *model.norm.running_mean.tolist()]
json.dump(found, open(sys.argv[1], "w"))
""")
    assert one == other and json.dumps(one).count("NaN") == 0


def test_a_moving_average_is_evaluated_saved_and_resumed(tmp_path):
    """Validation and checkpoints see the average, training goes on with its own weights."""
    seen, saved = [], []

    class Look(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            seen.append(weights(pl_module))

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            saved.append(weights(pl_module))

    def ema():
        return EMAWeightAveraging(decay=0.5)

    class Saves(Callback):
        def on_validation_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    plain, model = Toy(), Toy()
    quiet(tmp_path, max_epochs=2).fit(plain, loader(), loader())
    own = []

    class Own(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            own.append(weights(pl_module))

    trainer = quiet(tmp_path, max_epochs=2, callbacks=[Own(), ema(), Look(), Saves()])
    trainer.fit(model, loader(), loader())
    assert torch.equal(own[-1], weights(plain))
    average = own[0]
    for value in own[1:]:
        average = torch.lerp(average, value, 0.5)
    assert torch.allclose(weights(model), average, atol=1e-6, rtol=0)
    assert torch.equal(weights(model), seen[-1])
    kept = torch.load(tmp_path / "a.ckpt")["state_dict"]
    assert torch.equal(kept["net.0.bias"], seen[0][32:40])
    again = Toy()
    resumed = quiet(tmp_path, max_epochs=2, callbacks=[ema()])
    resumed.fit(again, loader(), loader(), ckpt_path=tmp_path / "a.ckpt")
    assert torch.equal(weights(again), weights(model))
    assert isinstance(resumed, Trainer)
