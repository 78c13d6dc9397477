"""Training: what a step does, when training stops, when validation runs, what is called when."""

from __future__ import annotations

import re

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from engine import Callback, LightningModule, MisconfigurationException
from engine.callbacks import GradientAccumulationScheduler
from engine.loggers import MemoryLogger
from engine.loops.steps import automatic as optimize
from tests.engine.support.toy import Toy, loader, quiet, samples, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def by_hand(model, batches, epochs=1, window=1, clip=None):
    """The textbook loop."""
    optimizer = model.configure_optimizers()
    for _ in range(epochs):
        for first in range(0, len(batches), window):
            optimizer.zero_grad()
            part = batches[first : first + window]
            for batch in part:
                (model.loss(batch) / len(part)).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
    return weights(model)


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_it_does_what_a_plain_loop_does(tmp_path, window, clip):
    """S018: same weights after two epochs, with windows (the last one is short) and clipping."""
    model = Toy()
    trainer = quiet(tmp_path, max_epochs=2, accumulate_grad_batches=window, gradient_clip_val=clip)
    trainer.fit(model, loader())
    assert torch.allclose(weights(model), by_hand(Toy(), list(loader()), 2, window, clip))
    assert trainer.global_step == 2 * -(-6 // window)


@pytest.mark.parametrize("count", [24, 20])
def test_a_window_is_a_big_batch(tmp_path, count):
    """S145: in 64 bits four batches of two are one batch of eight, and the last window, which may
    have but two, is one of four; with momentum and clipping."""
    data = samples(count, dtype=torch.float64)

    class Momentum(Toy):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.3, momentum=0.9)

    def trained(size, window):
        model = Momentum()
        options = {"precision": 64, "max_epochs": 2, "gradient_clip_val": 0.1}
        trainer = quiet(tmp_path, accumulate_grad_batches=window, **options)
        trainer.fit(model, DataLoader(data, batch_size=size))
        assert trainer.global_step == 6
        return weights(model)

    assert torch.allclose(trained(2, 4), trained(8, 1), rtol=0, atol=1e-12)


def test_accumulation_by_a_schedule(tmp_path):
    """S145: {epoch: batches}, as an argument or as the callback of 1.x: first a step a batch, then
    a step a window; schedulers know of it beforehand, and both together are refused."""
    found = []

    class Knows(Toy):
        def configure_optimizers(self):
            found.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

        def on_train_epoch_end(self):
            found.append((self.trainer.accumulate_grad_batches, self.global_step))

    results = []
    for options in (
        {"accumulate_grad_batches": {1: 4}},
        {"callbacks": GradientAccumulationScheduler({1: 4})},
    ):
        found.clear()
        model = Knows()
        quiet(tmp_path, max_epochs=3, **options).fit(model, loader())
        results.append(weights(model))
        assert found == [6 + 2 + 2, (1, 6), (4, 8), (4, 10)]
    assert torch.equal(*results)
    both = {"accumulate_grad_batches": 2, "callbacks": GradientAccumulationScheduler({1: 4})}
    with pytest.raises(MisconfigurationException, match="leave out one"):
        quiet(tmp_path, **both).fit(Toy(), loader())
    with pytest.raises(MisconfigurationException, match="from 1 on"):
        GradientAccumulationScheduler({1: 0})


def test_a_hook_may_say_how_much_is_accumulated(tmp_path):
    """S145: `trainer.accumulate_grad_batches` can be set at the start of an epoch."""

    class Sets(Toy):
        def on_train_epoch_start(self):
            self.trainer.accumulate_grad_batches = 1 + self.current_epoch

    trainer = quiet(tmp_path, max_epochs=3)
    trainer.fit(Sets(), loader())
    assert trainer.global_step == 6 + 3 + 2


def test_training_step_returns_a_dict_or_none(tmp_path, capsys):
    """S019, S020, S029: a dict's extras reach the epoch's end, detached, one output a batch; None
    skips a batch, said once, and changes nothing; how many there were is said once, at the end."""

    class Forms(Toy):
        def training_step(self, batch, batch_idx):
            if batch_idx in (1, 2):
                return None
            loss = self.loss(batch)
            return {"loss": loss, "extra": [loss * 2]}

        def training_epoch_end(self, outputs):
            self.outputs = outputs

    model = Forms()
    trainer = quiet(tmp_path, max_epochs=2)
    with pytest.warns(UserWarning, match="skipped") as said:
        trainer.fit(model, loader())
    assert len([w for w in said if "skipped" in str(w.message)]) == 1
    assert capsys.readouterr().err.count("returned None 4 times in this fit: those") == 1
    assert (len(model.outputs), trainer.global_step) == (4, 8)
    assert all(
        not o["extra"][0].requires_grad and not o["loss"].requires_grad for o in model.outputs
    )
    batches = [b for i, b in enumerate(loader()) if i not in (1, 2)]
    assert torch.allclose(weights(model), by_hand(Toy(), batches * 2))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ({"los": torch.ones(())}, r"keys \['los'\]"),
        ({"loss": 1.0}, "whose 'loss' is a float"),
        ({}, "keys"),
        (1.0, "a float"),
    ],
)
def test_a_wrong_return_is_explained(tmp_path, returned, words):
    """S019: a dict without a loss cannot be trained on, nor can a number without a graph."""

    class Wrong(Toy):
        def training_step(self, batch, batch_idx):
            return returned

    with pytest.raises(MisconfigurationException, match=rf"the key 'loss'.*returned .*{words}"):
        quiet(tmp_path).fit(Wrong(), loader())


def test_old_keys_of_a_step_are_not_silent(tmp_path):
    """What logged before there was `self.log` goes to the epoch's end; a warning says so, once."""

    class Old(Toy):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            return {"loss": loss, "log": {"train_loss": loss}}

    optimize._say_old_keys.cache_clear()
    with pytest.warns(UserWarning, match="self.log") as said:
        quiet(tmp_path).fit(Old(), loader())
    assert len([w for w in said if "'progress_bar'" in str(w.message)]) == 1


def test_what_is_missing_is_named(tmp_path):
    """S014, S025, C11: the step of each verb, the data, the model."""

    class Bare(LightningModule):
        pass

    for verb, step in (
        ("fit", "training_step"),
        ("test", "test_step"),
        ("validate", "validation_step"),
    ):
        with pytest.raises(MisconfigurationException, match=f"no `{step}`"):
            getattr(quiet(tmp_path), verb)(Bare(), loader())
    with pytest.raises(MisconfigurationException, match="nothing to train on"):
        quiet(tmp_path).fit(Toy())
    with pytest.raises(MisconfigurationException, match="no model"):
        quiet(tmp_path).test()


@pytest.mark.parametrize("returned", [None, [], ([], [])])
def test_without_an_optimizer_it_runs_and_says_so(tmp_path, returned):
    """S042: configure_optimizers that falls through to None, or lists nothing, is no crash."""

    class Idle(Toy):
        def configure_optimizers(self):
            return returned

    model = Idle()
    before = weights(model)
    with pytest.warns(UserWarning, match=f"no optimizer.*{re.escape(repr(returned))}"):
        quiet(tmp_path, accumulate_grad_batches=2, gradient_clip_val=1.0).fit(model, loader())
    assert torch.equal(before, weights(model))
    assert len(model.seen) == 24


# ---------------------------------------------------------------------- how long


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_steps": 8, "max_epochs": None}, 8),
        ({"max_steps": 0}, 0),
        ({"max_steps": 5, "accumulate_grad_batches": 4, "max_epochs": 9}, 5),
        ({"max_epochs": 3}, 18),
        ({"limit_train_batches": 2}, 2),
        ({"limit_train_batches": 0.5}, 3),
        ({"fast_dev_run": True, "max_epochs": 5}, 1),
        ({"fast_dev_run": 3}, 3),
        ({"overfit_batches": 2, "max_epochs": 2}, 4),
    ],
)
def test_how_many_steps_are_taken(tmp_path, options, steps):
    """S148: exactly as many as the arguments say."""
    trainer = quiet(tmp_path, **options)
    trainer.fit(Toy(), loader())
    assert trainer.global_step == steps


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, 2), ({"min_steps": 9}, 9), ({"min_epochs": 2}, 12)],
)
def test_a_request_to_stop_waits_for_the_minimum(tmp_path, options, steps):
    """S147, S149: should_stop ends the training after the batch, not before min_steps and
    min_epochs."""

    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.should_stop = trainer.should_stop or trainer.global_step == 2

    trainer = quiet(tmp_path, max_epochs=5, callbacks=Stop(), **options)
    trainer.fit(Toy(), loader())
    assert trainer.global_step == steps


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({}, [6, 12]),
        ({"check_val_every_n_epoch": 2}, [12]),
        ({"val_check_interval": 0.5}, [3, 6, 9, 12]),
        ({"val_check_interval": 4}, [4, 10]),
        ({"val_check_interval": 5, "check_val_every_n_epoch": None}, [5, 10]),
        ({"val_check_interval": 8}, [8]),
        ({"limit_val_batches": 0}, []),
    ],
)
def test_when_validation_runs(tmp_path, options, at):
    """S143, S154: after so many batches: shares of an epoch, numbers, also over epochs' ends."""
    steps = []

    class Watch(Toy):
        def on_validation_start(self):
            steps.append(self.global_step)

    quiet(tmp_path, max_epochs=2, **options).fit(Watch(), loader(), loader())
    assert steps == at


def test_the_sanity_check(tmp_path):
    """S162: two batches before training, which no logger gets and no one can monitor afterwards; -1
    is all of them, 0 none."""
    counts, metrics, logger = [], [], MemoryLogger()

    class Check(Toy):
        def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx):
            if self.trainer.sanity_checking:
                counts.append(batch_idx)

        def on_train_start(self):
            metrics.append(dict(self.trainer.callback_metrics))

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(batch), on_step=True, on_epoch=True)

    quiet(tmp_path, num_sanity_val_steps=2, logger=logger).fit(Check(), loader(), loader())
    assert (counts, metrics) == ([0, 1], [{}])
    assert len(logger.series("val_loss_epoch")) == 1
    assert [step for step, _ in logger.series("val_loss_step")] == list(range(6))
    for given, expected in ((-1, list(range(6))), (0, [])):
        counts.clear()
        quiet(tmp_path, num_sanity_val_steps=given).fit(Check(), loader(), loader())
        assert counts == expected


class Stream(IterableDataset):
    def __iter__(self):
        return iter(samples(10))


def test_a_loader_without_a_length(tmp_path):
    """S234: its last window is stepped, its end validates, or every so many batches; a share of it
    makes no sense."""
    steps = []

    class Watch(Toy):
        def on_validation_start(self):
            steps.append(self.global_step)

    model = Watch()
    stream = DataLoader(Stream(), batch_size=4)
    trainer = quiet(tmp_path, accumulate_grad_batches=2, max_epochs=2)
    trainer.fit(model, stream, loader())
    assert (trainer.global_step, steps) == (4, [2, 4])
    assert torch.allclose(weights(model), by_hand(Toy(), list(loader(10)), 2, 2))
    steps.clear()
    quiet(tmp_path, val_check_interval=2, max_epochs=2).fit(Watch(), stream, loader())
    assert steps == [2, 4, 6]
    with pytest.raises(MisconfigurationException, match="val_check_interval"):
        quiet(tmp_path, val_check_interval=0.5).fit(Toy(), stream, loader())
    for share in ("limit_train_batches", "overfit_batches"):
        with pytest.raises(MisconfigurationException, match=f"{share}=0.5 is a share"):
            quiet(tmp_path, **{share: 0.5}).fit(Toy(), stream, loader())


def test_overfitting_sees_the_same_few_batches(tmp_path):
    """S141: no shuffling, and validation looks at them too: at all of them, also in a run that goes
    on in the middle of an epoch."""
    seen, path = [], tmp_path / "cut.ckpt"

    class Watch(Toy):
        def validation_step(self, batch, batch_idx):
            seen.append(batch[2].tolist())

    model = Watch()
    trainer = quiet(tmp_path, overfit_batches=2, max_epochs=2)
    trainer.fit(model, loader(shuffle=True), loader(8))
    assert model.seen == [*range(8), *range(8)]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2

    class Saves(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 0:
                trainer.save_checkpoint(path)

    quiet(tmp_path, overfit_batches=2, callbacks=Saves()).fit(Watch(), loader(shuffle=True))
    seen.clear()
    trainer = quiet(tmp_path, overfit_batches=2)
    trainer.fit(model := Watch(), loader(shuffle=True), loader(8), ckpt_path=path)
    assert (model.seen, seen) == ([4, 5, 6, 7], [[0, 1, 2, 3], [4, 5, 6, 7]])


# ---------------------------------------------------------------------- modes and batches


def test_modes_are_given_back(tmp_path):
    """S068, S069: eval mode and no gradients in validation and test, back to before afterwards; a
    layer that the user froze stays frozen, one set to eval within a step, too."""

    class Modes(Toy):
        def __init__(self):
            super().__init__()
            self.frozen = torch.nn.BatchNorm1d(4).eval()
            self.late = torch.nn.BatchNorm1d(4)

        def training_step(self, batch, batch_idx):
            assert self.training and self.net.training and not self.frozen.training
            assert torch.is_grad_enabled()
            self.frozen(batch[0])
            self.late.eval()
            self.late(batch[0])
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            assert not self.training and not self.net.training
            assert not torch.is_grad_enabled()

        test_step = validation_step

    model = Modes()
    trainer = quiet(tmp_path, max_epochs=2, val_check_interval=2)
    trainer.fit(model, loader(), loader())
    for layer in (model.frozen, model.late):
        assert torch.equal(layer.running_mean, torch.zeros(4))
        assert not layer.training
    trainer.test(model, loader(), verbose=False)
    assert model.training and model.net.training
    assert torch.is_grad_enabled()


# ---------------------------------------------------------------------- precision


# ---------------------------------------------------------------------- the end
