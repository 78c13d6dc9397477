"""What steps return: where it goes, and that nothing is kept which nobody asked for."""

from __future__ import annotations

import gc

import pytest
import torch
from torch.utils.data import DataLoader

from engine import LightningModule
from engine.loggers import CSVLogger
from tests.engine.support.toy import Toy, loader, quiet, samples, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


def test_validation_is_left_out_without_its_step(tmp_path):
    """S023: a loader alone does not validate, and a warning says so."""

    class Bare(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).mean()

        def on_validation_start(self):
            raise AssertionError("there is nothing to run")

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    with pytest.warns(UserWarning, match="no validation_step"):
        quiet(tmp_path).fit(Bare(), loader(), loader())


def test_ends_of_evaluations_get_what_steps_returned(tmp_path):
    """S024, S030: tuples stay tuples; once an epoch, in the sanity check, too; a list for each
    loader where there are several."""
    calls = []

    class Ends(Toy):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            return batch[0], batch[1], batch_idx

        def validation_epoch_end(self, outputs):
            calls.append((self.trainer.sanity_checking, outputs))

        def test_step(self, batch, batch_idx):
            return {"test": self.loss(batch)}

        def test_epoch_end(self, outputs):
            calls.append(sorted(outputs[0]))

    trainer = quiet(tmp_path, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(Ends(), loader(8), loader())
    trainer.test(Ends(), loader(), verbose=False)
    *validations, test = calls
    assert [(checks, len(outputs)) for checks, outputs in validations] == [
        (True, 1),
        (False, 6),
        (False, 6),
    ]
    outputs = validations[1][1]
    assert all(type(one) is tuple and len(one) == 3 for one in outputs)
    assert [one[2] for one in outputs] == [*range(6)]
    assert test == ["test"]
    calls.clear()
    trainer.validate(Ends(), [loader(8), loader(12)], verbose=False)
    assert [len(one) for one in calls[0][1]] == [2, 3]


def test_what_ends_of_steps_return_takes_the_place_of_the_output(tmp_path):
    """S027, S028: right after each step, whatever it returned; the loss is theirs, and hooks and
    ends of epochs get what they returned."""
    calls = []

    class Ends(Toy):
        def training_step(self, batch, batch_idx):
            calls.append("step")
            return self(batch[0]), batch[1]

        def training_step_end(self, output):
            calls.append("end")
            scores, classes = output
            return {"loss": torch.nn.functional.cross_entropy(scores, classes), "end": len(classes)}

        def on_train_batch_end(self, outputs, batch, batch_idx):
            calls.append(sorted(outputs))

        def training_epoch_end(self, outputs):
            calls.append([one["end"] for one in outputs])

        def validation_step(self, batch, batch_idx):
            calls.append(("step", batch_idx))
            return batch_idx

        def validation_step_end(self, output):
            calls.append(("end", output))
            return 10 * (output + 1)

        def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx):
            calls.append(outputs)

        def validation_epoch_end(self, outputs):
            calls.append(outputs)

        test_step, test_step_end = validation_step, validation_step_end
        on_test_batch_end, test_epoch_end = on_validation_batch_end, validation_epoch_end

    model, plain = Ends(), Toy()
    trainer = quiet(tmp_path)
    trainer.fit(model, loader(8), loader(8))
    evaluated = [("step", 0), ("end", 0), 10, ("step", 1), ("end", 1), 20, [10, 20]]
    assert calls == [*["step", "end", ["end", "loss"]] * 2, *evaluated, [4, 4]]
    calls.clear()
    trainer.test(model, loader(8), verbose=False)
    assert calls == evaluated
    quiet(tmp_path).fit(plain, loader(8), loader(8))
    assert torch.equal(weights(model), weights(plain))


def test_an_end_that_returns_something_is_told(tmp_path):
    """S030: before 1.0 metrics were returned there; nobody would miss them but the user."""

    class Returns(Toy):
        def validation_step(self, batch, batch_idx):
            return self.loss(batch)

        def validation_epoch_end(self, outputs):
            return {"val_loss": torch.stack(outputs).mean()}

    with pytest.warns(UserWarning, match=r"validation_epoch_end.*self\.log"):
        quiet(tmp_path).validate(Returns(), loader(), verbose=False)


def test_a_prediction_goes_to_the_hook_and_to_the_result(tmp_path):
    """S026: the very object, with the loader's index where there are several."""
    seen = []

    class Predicts(Toy):
        def predict_step(self, batch, batch_idx, dataloader_idx=None):
            return {"samples": batch[2].tolist(), "loader": dataloader_idx}

        def on_predict_batch_end(self, outputs, batch, batch_idx, dataloader_idx):
            seen.append(outputs)

    model = Predicts()
    assert quiet(tmp_path).predict(model, loader(8)) == seen
    assert seen[1]["samples"] == [4, 5, 6, 7]
    seen.clear()
    first, second = quiet(tmp_path).predict(model, [loader(4), loader(8)])
    assert [*first, *second] == seen
    assert [one["loader"] for one in seen] == [0, 1, 1]


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda module, x: module(x).detach().mean(), "has no gradient"),
        (lambda module, x: module(x), r"has the shape \(\d+, \d+\)"),
    ],
)
def test_a_loss_that_can_not_be_derived_is_explained(tmp_path, loss, words):
    """S018: what is wrong with it, beside torch's own words."""

    class Wrong(Toy):
        def training_step(self, batch, batch_idx):
            return loss(self, batch[0])

    with pytest.raises(RuntimeError, match=f"the loss that training_step returned {words}"):
        quiet(tmp_path).fit(Wrong(), loader())


@pytest.mark.parametrize("window", [1, 4])
def test_outputs_of_training_have_no_graph(tmp_path, window):
    """S029, S031: what is collected is detached, the loss and all that is beside it, of every
    batch, whether it ends in a step or not."""
    found = []

    class Keeps(Toy):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            return {"loss": loss, "deep": {"a": [loss * 2, (loss,)]}}

        def training_epoch_end(self, outputs):
            for one in outputs:
                found.extend([one["loss"], one["deep"]["a"][0], one["deep"]["a"][1][0]])

    quiet(tmp_path, accumulate_grad_batches=window).fit(Keeps(), loader())
    assert len(found) == 18
    assert not any(tensor.requires_grad or tensor.grad_fn for tensor in found)


class Counts(Toy):
    """Notes how many tensors and other objects there are, now and then."""

    def __init__(self):
        super().__init__()
        self.found = {"train": [], "validation": []}

    def count(self, where, batch_idx):
        if batch_idx in (500, 1500, 2490):
            gc.collect()
            alive = gc.get_objects()
            tensors = sum(issubclass(type(one), torch.Tensor) for one in alive)
            self.found[where].append((len(alive), tensors))

    def training_step(self, batch, batch_idx):
        self.count("train", batch_idx)
        loss = self.loss(batch)
        self.log("a", loss, on_step=True, on_epoch=True)
        self.log("b", loss, reduce_fx="max", on_epoch=True)
        return {"loss": loss, "extra": loss * 2}

    def validation_step(self, batch, batch_idx):
        self.count("validation", batch_idx)
        loss = self.loss(batch)
        self.log("c", loss)
        return loss, batch

    def on_train_batch_end(self, outputs, batch, batch_idx):
        assert outputs["extra"].grad_fn is None

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 100)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def test_nothing_grows_with_the_number_of_steps(tmp_path):
    """S031, S032: over thousands of steps of training and validation that return values, log and
    schedule, as many tensors and objects are alive: without an `*_epoch_end` no output is kept."""
    model = Counts()
    data = DataLoader(samples(2500), batch_size=1)
    logger = CSVLogger(str(tmp_path))
    quiet(tmp_path, logger=logger, log_every_n_steps=10).fit(model, data, data)
    for found in model.found.values():
        for counts in zip(*found, strict=True):  # objects, and those of them that are tensors
            # Not one more for each step, nor for each tenth that is logged.
            assert max(counts) - min(counts) < 50


def test_a_batch_of_one(tmp_path):
    """S233: a DataLoader's own default; each sample counts as one in a mean, however long it is,
    beside those whose number is given."""
    sizes = []

    class Ones(Toy):
        def training_step(self, batch, batch_idx):
            sizes.append(len(batch[0]))
            index = batch[1].double().mean()
            self.log("index", index, on_step=False, on_epoch=True)
            given = {"batch_size": 3} if batch_idx % 2 else {}  # the odd ones count three times
            self.log("odd_thrice", index, on_step=False, on_epoch=True, **given)
            return self(batch[0].view(-1, 4)).mean()

    trainer = quiet(tmp_path)
    trainer.fit(Ones(), DataLoader([(torch.ones(4 + 4 * n), n) for n in range(10)]))
    assert sizes == [1] * 10
    assert trainer.callback_metrics["index"] == 4.5
    assert trainer.callback_metrics["odd_thrice"] == (20 + 3 * 25) / (5 + 3 * 5)
    assert trainer.global_step == 10


def test_all_methods_of_a_module_are_called(tmp_path):
    """S262: those of the template, whatever else is defined beside them."""
    calls = []

    class Template(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x):
            calls.append("forward")
            return self.layer(x)

        def step(self, batch, name):
            calls.append(name)
            return {"loss": torch.nn.functional.cross_entropy(self(batch[0]), batch[1])}

        def training_step(self, batch, batch_idx):
            return self.step(batch, "training_step")

        def training_step_end(self, output):
            calls.append("training_step_end")
            return output

        def training_epoch_end(self, outputs):
            calls.append("training_epoch_end")

        def validation_step(self, batch, batch_idx):
            return self.step(batch, "validation_step")

        def validation_step_end(self, output):
            calls.append("validation_step_end")
            return output

        def validation_epoch_end(self, outputs):
            calls.append("validation_epoch_end")

        def test_step(self, batch, batch_idx):
            return self.step(batch, "test_step")

        def test_step_end(self, output):
            calls.append("test_step_end")
            return output

        def test_epoch_end(self, outputs):
            calls.append("test_epoch_end")

        def configure_optimizers(self):
            calls.append("configure_optimizers")
            return torch.optim.Adam(self.parameters(), lr=0.02)

        def any_extra_hook(self):
            raise AssertionError("no one knows this name")

    model, trainer = Template(), quiet(tmp_path)
    trainer.fit(model, loader(4), loader(4))
    trainer.test(model, loader(4), verbose=False)
    expected = ["configure_optimizers"]
    for stage in ("training", "validation"):
        expected += [f"{stage}_step", "forward", f"{stage}_step_end"]
    expected += ["validation_epoch_end", "training_epoch_end"]
    expected += ["test_step", "forward", "test_step_end", "test_epoch_end"]
    assert calls == expected


class Duel(LightningModule):
    """Two networks that each have an optimizer and a scheduler."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.one, self.two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.double()

    def training_step(self, batch, batch_idx, optimizer_idx):
        y = torch.tanh(self.two(torch.tanh(self.one(batch[0]))))
        return y.mean() if optimizer_idx else y.square().mean()

    def configure_optimizers(self):
        optimizers = [torch.optim.Adam(net.parameters(), lr=0.05) for net in (self.one, self.two)]
        step = torch.optim.lr_scheduler.StepLR
        return optimizers, [step(optimizer, 1, gamma=0.5) for optimizer in optimizers]


def test_optimizers_and_schedulers_as_the_pseudo_code_has_them(tmp_path):
    """S279: for each batch and optimizer the others' gradients are off, then a step; schedulers
    after each epoch: weights and rates are the same to the last bit."""
    model, data = Duel(), DataLoader(samples(16, dtype=torch.float64), batch_size=4)
    trainer = quiet(tmp_path, max_epochs=3, precision=64)
    trainer.fit(model, data)

    plain = Duel()
    optimizers, schedulers = plain.configure_optimizers()
    nets = (plain.one, plain.two)
    for _ in range(3):
        for batch_idx, batch in enumerate(data):
            for idx, optimizer in enumerate(optimizers):
                nets[1 - idx].requires_grad_(False)
                loss = plain.training_step(batch, batch_idx, idx)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                nets[1 - idx].requires_grad_(True)
        for scheduler in schedulers:
            scheduler.step()

    assert torch.equal(weights(model), weights(plain))
    rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
    assert rates == [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
