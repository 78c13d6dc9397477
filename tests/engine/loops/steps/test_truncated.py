"""Truncated back-propagation: sequences in splits, and what goes on from one to the next."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from engine import Callback, LightningModule, MisconfigurationException
from engine.runtime.data.sequences import split_batch
from tests.engine.support.toy import Toy, quiet, weights
from tests.engine.support.toy import loader as flat_loader

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def sequences(count=12, steps=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, steps, 3, generator=generator, dtype=dtype)
    return DataLoader(TensorDataset(x, x.sum(-1).cumsum(1)), batch_size=4)


class Recurrent(LightningModule):
    """A recurrent network that keeps what it got and gave."""

    def __init__(self, steps=0):
        super().__init__()
        torch.manual_seed(3)
        self.cell = torch.nn.GRU(3, 5, batch_first=True)
        self.out = torch.nn.Linear(5, 1)
        self.truncated_bptt_steps = steps
        self.got, self.gave, self.sizes, self.ends = [], [], [], []

    def run_split(self, batch, hiddens):
        x, y = batch
        output, hiddens = self.cell(x, hiddens)
        return (self.out(output).squeeze(-1) - y).square().mean(), hiddens

    def training_step(self, batch, batch_idx, hiddens):
        loss, after = self.run_split(batch, hiddens)
        self.got.append(hiddens)
        self.gave.append(after)
        self.sizes.append(batch[0].shape[1])
        return {"loss": loss, "hiddens": after, "idx": batch_idx}

    def training_epoch_end(self, outputs):
        self.ends.append(outputs)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def in_a_plain_loop(model, data, size, window=1, clip=None):
    """What one would write by hand: a step a split, or one for all splits of a window."""
    model.double()
    (optimizer,), (config,) = model.configure_optimizers()
    data = list(data)
    for first in range(0, len(data), window):
        part = data[first : first + window]
        optimizer.zero_grad()
        for x, y in part:
            hiddens = None
            starts = range(0, x.shape[1], size)
            for start in starts:
                split = x[:, start : start + size], y[:, start : start + size]
                loss, hiddens = model.run_split(split, hiddens)
                hiddens = hiddens.detach()
                if window > 1:
                    (loss / (len(starts) * window)).backward()
                    continue
                optimizer.zero_grad()
                loss.backward()
                if clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
        if window > 1:
            for parameter in model.parameters():
                parameter.grad.mul_(window / len(part))
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
        config["scheduler"].step()
    return weights(model)


def test_each_split_gets_the_hiddens_of_the_last(tmp_path):
    """S017, S021, S163: split along time, hiddens handed on without their graph and forgotten
    between batches; outputs come as a list of splits for each batch."""
    model = Recurrent()
    trainer = quiet(tmp_path, truncated_bptt_steps=3, precision=64)
    trainer.fit(model, sequences())
    assert model.sizes == [3, 3, 1] * 3
    for number, (got, before) in enumerate(zip(model.got, [None, *model.gave], strict=False)):
        if number % 3 == 0:
            assert got is None
        else:
            assert torch.equal(got, before)
            assert not got.requires_grad
    assert trainer.global_step == 3
    (outputs,) = model.ends
    assert [[one["idx"] for one in batch] for batch in outputs] == [[0] * 3, [1] * 3, [2] * 3]
    assert {tuple(one) for batch in outputs for one in batch} == {("loss", "idx")}
    assert not any(one["loss"].requires_grad for batch in outputs for one in batch)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize(("window", "size"), [(1, 3), (1, 7), (2, 2), (3, 4)])
def test_it_is_a_plain_loop(tmp_path, window, size, clip):
    """S163: a step a split, or one for the mean over a window's splits, to the last bit."""
    model = Recurrent(size)  # as an attribute of the module
    options = {"accumulate_grad_batches": window, "gradient_clip_val": clip}
    trainer = quiet(tmp_path, precision=64, **options)
    trainer.fit(model, sequences())
    expected = in_a_plain_loop(Recurrent(), sequences(), size, window, clip)
    assert torch.equal(weights(model), expected)
    assert trainer.global_step == -(-3 // window)


class Pair(Recurrent):
    """Two optimizers, and so two memories."""

    def training_step(self, batch, batch_idx, optimizer_idx, hiddens):
        self.sizes.append((batch_idx, optimizer_idx, hiddens is None))
        loss, after = self.run_split(batch, hiddens)
        if hiddens is not None:
            assert torch.equal(hiddens, self.last[optimizer_idx])
        self.last[optimizer_idx] = after.detach()
        return {"loss": loss, "hiddens": after}

    def configure_optimizers(self):
        self.last = {}
        one, two = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (self.cell, self.out))
        if self.frequencies:
            return [{"optimizer": one, "frequency": 1}, {"optimizer": two, "frequency": 1}]
        return one, two

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.got.append([None if mine is None else len(mine) for mine in outputs])


@pytest.mark.parametrize("frequencies", [False, True])
def test_with_several_optimizers(tmp_path, frequencies):
    """S017: each optimizer has hiddens of its own; whose turn it is changes from batch to batch."""
    model = Pair(4)
    model.frequencies = frequencies
    trainer = quiet(tmp_path, precision=64, limit_train_batches=2)
    trainer.fit(model, sequences())
    if frequencies:
        turns = [(0, 0, True), (0, 0, False), (1, 1, True), (1, 1, False)]
        ends, lengths = [[2], [2]], [[2, None], [None, 2]]
    else:
        turns = [(b, i, first) for b in (0, 1) for first in (True, False) for i in (0, 1)]
        ends, lengths = [[2, 2], [2, 2]], [[2, 2], [2, 2]]
    assert model.sizes == turns
    assert [[len(batch) for batch in mine] for mine in model.ends[0]] == ends
    assert model.got == lengths
    assert trainer.global_step == 2


def test_arguments_may_have_other_names(tmp_path):
    """S015, S016, S017: the batch's index, the optimizer's and the hiddens go by their place where
    `training_step` calls them otherwise; a parameter with a default is one of the user's own."""
    calls = []

    class Two(Recurrent):
        def training_step(self, data, number, which, state):
            calls.append((number, which, state is None))
            loss, after = self.run_split(data, state)
            return {"loss": loss, "hiddens": after}

        def configure_optimizers(self):
            return [torch.optim.SGD(net.parameters(), lr=0.1) for net in (self.cell, self.out)]

    class One(Two):
        def training_step(self, data, number, state):
            return super().training_step(data, number, None, state)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Whole(Two):
        def training_step(self, data, number, which):
            return super().training_step(data, number, which, None)

    class Other(Two):
        def training_step(self, data, number, which=None):
            raise AssertionError("it has no place for the optimizer's index")

    for kind, steps in ((Two, 4), (One, 4), (Whole, 0)):
        quiet(tmp_path, precision=64, limit_train_batches=1).fit(kind(steps), sequences())
    assert calls == [
        *[(0, 0, True), (0, 1, True), (0, 0, False), (0, 1, False)],
        *[(0, None, True), (0, None, False)],
        *[(0, 0, True), (0, 1, True)],
    ]
    with pytest.raises(MisconfigurationException, match="`optimizer_idx`"):
        quiet(tmp_path, precision=64).fit(Other(), sequences())


def test_three_forms_of_a_step(tmp_path):
    """S259: (batch, batch_idx), with optimizer_idx, with hiddens; batch_idx may be left out."""
    calls = []

    class One(Toy):
        def training_step(self, batch, batch_idx):
            calls.append(batch_idx)
            return self.loss(batch)

    class Two(Toy):
        def training_step(self, batch, batch_idx, optimizer_idx):
            calls.append((batch_idx, optimizer_idx))
            return self.loss(batch)

        def configure_optimizers(self):
            return [
                torch.optim.SGD(layer.parameters(), 0.1) for layer in (self.net[0], self.net[3])
            ]

    class Three(Recurrent):
        def training_step(self, batch, hiddens):
            calls.append((batch[0].shape[1], hiddens is None))
            return super().training_step(batch, 0, hiddens)

    quiet(tmp_path, limit_train_batches=1).fit(One(), flat_loader())
    quiet(tmp_path, limit_train_batches=1).fit(Two(), flat_loader())
    data = sequences(dtype=torch.float32)
    quiet(tmp_path, limit_train_batches=1, truncated_bptt_steps=5).fit(Three(), data)
    quiet(tmp_path, limit_train_batches=1).fit(Three(), data)  # hiddens, and nothing to cut
    assert calls == [0, (0, 0), (0, 1), (5, True), (2, False), (7, True)]


def test_steps_by_hand(tmp_path):
    """S163: with manual optimisation each split is handed over; a batch is one step."""

    class ByHand(Recurrent):
        automatic_optimization = False

        def training_step(self, batch, batch_idx, hiddens):
            loss, after = self.run_split(batch, hiddens)
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.sizes.append(self.global_step)
            return {"loss": loss, "hiddens": after}

    model = ByHand(3)
    quiet(tmp_path, precision=64).fit(model, sequences())
    assert model.sizes == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [len(batch) for batch in model.ends[0]] == [3, 3, 3]


def test_a_run_that_was_cut_is_the_same_run(tmp_path):
    """S163: resumed in the middle of an epoch; batches count, so max_steps and checkpoints do."""

    class Saves(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "half.ckpt")

    whole, rest = Recurrent(3), Recurrent(3)
    quiet(tmp_path, precision=64, max_epochs=2, max_steps=5, callbacks=Saves()).fit(
        whole, sequences()
    )
    trainer = quiet(tmp_path, precision=64, max_epochs=2, max_steps=5)
    with pytest.warns(UserWarning, match="of an earlier process"):
        trainer.fit(rest, sequences(), ckpt_path=str(tmp_path / "half.ckpt"))
    assert torch.equal(weights(whole), weights(rest))
    assert (trainer.global_step, len(rest.sizes)) == (5, 3)


def test_one_can_cut_ones_own_way(tmp_path):
    """S163: tbptt_split_batch is asked for every batch, and hiddens may be of any nesting."""

    class Own(Recurrent):
        def tbptt_split_batch(self, batch, split_size):
            assert split_size == 2
            return [batch[0][:, :4], batch[0][:, 4:]]

        def training_step(self, batch, batch_idx, hiddens):
            if hiddens is not None:
                assert not hiddens["a"][0].requires_grad
            output, after = self.cell(batch, None if hiddens is None else hiddens["a"][0])
            self.sizes.append(batch.shape[1])
            return {"loss": output.square().mean(), "hiddens": {"a": (after, 1)}}

    model = Own(2)
    quiet(tmp_path, limit_train_batches=1, precision=64).fit(model, sequences())
    assert model.sizes == [4, 3]


def test_what_is_cut():
    """S163: the second dimension of tensors, each sequence of a list; the rest goes whole."""
    x, y = torch.arange(10).reshape(2, 5), torch.arange(2)
    parts = split_batch((x, [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]], y, "word"), 2)
    assert [part[0].shape[1] for part in parts] == [2, 2, 1]
    assert parts[1][1:] == ([[3, 4], [8, 9]], y, "word")
    assert torch.equal(parts[2][0], x[:, 4:])
    (one, two) = split_batch({"a": x, "length": 5}, 3)
    assert (one["a"].shape, two["length"]) == ((2, 3), 5)
    assert [part.shape[1] for part in split_batch(x, 4)] == [4, 1]
    with pytest.raises(MisconfigurationException, match=r"\[4, 5\].*tbptt_split_batch"):
        split_batch([x, x[:, :4]], 2)
    with pytest.raises(MisconfigurationException, match="no sequence"):
        split_batch([y], 2)


def test_an_argument_for_the_hiddens_is_needed(tmp_path):
    """S163: without `hiddens` nothing could go on from split to split."""
    with pytest.raises(MisconfigurationException, match="`hiddens`"):
        quiet(tmp_path, truncated_bptt_steps=2).fit(Toy(), flat_loader())


def test_words_of_log_that_change_nothing(tmp_path):
    """S097, S098, C4: tbptt_reduce_fx and tbptt_pad_token are accepted, with one note."""

    class Logs(Recurrent):
        def training_step(self, batch, batch_idx, hiddens):
            output = super().training_step(batch, batch_idx, hiddens)
            self.log("a", float(len(self.sizes)), tbptt_reduce_fx=torch.mean, on_epoch=True)
            self.log("b", 1.0, tbptt_pad_token=0)
            return output

    trainer = quiet(tmp_path, truncated_bptt_steps=4, precision=64, max_epochs=2)
    with pytest.warns(UserWarning, match="tbptt_reduce_fx") as said:
        trainer.fit(Logs(), sequences())
    assert len([w for w in said if "tbptt" in str(w.message)]) == 1
    assert trainer.callback_metrics["a_epoch"] == 9.5  # splits 7 to 12, those of epoch 2


UNEVEN = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from tests.engine.loops.steps import test_truncated as truncated

error = ""
try:
    data = truncated.sequences(steps=7 - int(os.environ["RANK"]))
    truncated.quiet(os.getcwd(), truncated_bptt_steps=3, precision=64).fit(
        truncated.Recurrent(), data
    )
except truncated.MisconfigurationException as failure:
    error = str(failure)
json.dump(error, open(sys.argv[1], "w"))
"""


def test_ranks_with_unlike_sequences_are_named(run_ranks):
    """S163: ranks step together, so they need equally many splits: an error, where gradients of
    different splits would be averaged and the last rank would wait for ever."""
    for error in run_ranks(UNEVEN):
        assert "batch 0 has [3, 2] splits on the ranks" in error
