"""validate, test and predict: which weights, which data, which results."""

from __future__ import annotations

import pytest
import torch

from engine import (
    CheckpointError,
    LightningDataModule,
    LightningModule,
    MisconfigurationException,
)
from engine.callbacks import ModelCheckpoint
from tests.engine.support.toy import Toy, loader, quiet, weights


class Worse(Toy):
    """Its first epoch is its best."""

    def validation_step(self, batch, batch_idx):
        self.log("val", float(self.current_epoch))

    def test_step(self, batch, batch_idx):
        self.log("tested", self.net[0].weight.sum())


@pytest.fixture
def trained(tmp_path):
    model = Worse()
    best = ModelCheckpoint(monitor="val", save_last=True)
    trainer = quiet(tmp_path, max_epochs=3, callbacks=best, enable_checkpointing=True)
    trainer.fit(model, loader(), loader())
    return trainer, model


def outcome(trainer, **arguments):
    return trainer.test(dataloaders=loader(), verbose=False, **arguments)[0]["tested"]


def test_without_a_model_the_best_checkpoint_is_tested(trained, capsys):
    """S118, C1: and one line says which; with the model, the weights that it has."""
    trainer, model = trained
    present = model.net[0].weight.sum().item()
    best = Worse.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    assert outcome(trainer, model=model) == pytest.approx(present)
    assert "present weights" in capsys.readouterr().err
    assert outcome(trainer) == pytest.approx(best.net[0].weight.sum().item()) != present
    assert trainer.checkpoint_callback.best_model_path in capsys.readouterr().err
    assert torch.equal(weights(model), weights(best))


def test_the_best_is_known_after_a_fit_with_the_modules_own_callbacks(tmp_path):
    """S118: test asks `configure_callbacks` again, and the best of the fit is still known."""

    class Brings(Worse):
        def configure_callbacks(self):
            return [ModelCheckpoint(tmp_path, monitor="val", save_last=True)]

    trainer = quiet(tmp_path, max_epochs=2, enable_checkpointing=True)
    trainer.fit(Brings(), loader(), loader())
    best = trainer.checkpoint_callback.best_model_path
    assert best.endswith("epoch=0-step=6.ckpt")
    assert (
        outcome(trainer, ckpt_path="best") == outcome(trainer) != outcome(trainer, ckpt_path="last")
    )
    assert trainer.checkpoint_callback.best_model_path == best


def test_the_last_of_an_earlier_process_is_found(tmp_path):
    """C1: `ckpt_path="last"` is what lies in the folder that the callback was given; in the first
    fit there is none, which a warning says.
    """

    def trainer(epochs, **options):
        keeps = ModelCheckpoint(tmp_path / "kept", monitor="val", save_last=True)
        return quiet(
            tmp_path, max_epochs=epochs, callbacks=keeps, enable_checkpointing=True, **options
        )

    with pytest.warns(UserWarning, match="begins anew"):
        trainer(2).fit(Worse(), loader(), loader(), ckpt_path="last")
    second = trainer(3)
    second.fit(Worse(), loader(), loader(), ckpt_path="last")
    assert second.ckpt_path == str(tmp_path / "kept" / "last.ckpt")
    assert second.global_step == 18
    third = trainer(3)
    tested = third.test(Worse(), loader(), verbose=False, ckpt_path="last")[0]["tested"]
    assert tested == outcome(second, ckpt_path="last")


def test_a_checkpoint_can_be_named(trained, tmp_path):
    """C1: best, last, or a path; one that does not exist is an error."""
    trainer, model = trained
    last = outcome(trainer, ckpt_path="last")
    assert outcome(trainer, ckpt_path="best") != last
    path = trainer.checkpoint_callback.last_model_path
    assert outcome(trainer, ckpt_path=path) == last
    fresh = quiet(tmp_path)
    with pytest.raises(MisconfigurationException, match="Checkpointing is off"):
        fresh.test(model, loader(), ckpt_path="best")
    with pytest.raises(MisconfigurationException, match="Nothing was saved"):
        quiet(tmp_path, enable_checkpointing=True).test(model, loader(), ckpt_path="best")


def test_fit_does_not_test(tmp_path):
    """S117: tests run when they are asked for."""

    called = []

    class Never(Toy):
        def test_step(self, batch, batch_idx):
            called.append(batch_idx)

        def test_dataloader(self):
            return loader(4)

    trainer = quiet(tmp_path)
    trainer.fit(Never(), loader(), loader())
    assert called == []
    trainer.test(verbose=False)
    assert called == [0]


def test_results_and_the_table(tmp_path, capsys):
    """S116: one dict a loader; the table is printed unless verbose=False."""
    trainer = quiet(tmp_path)
    results = trainer.test(Toy(), dataloaders=loader())
    assert list(results[0]) == ["test_loss"]
    assert f"{results[0]['test_loss']:.6g}" in capsys.readouterr().out
    assert trainer.test(Toy(), loader(), verbose=False) == results
    assert "test_loss" not in capsys.readouterr().out
    trainer.validate(Toy(), val_dataloaders=loader(), verbose=False)
    assert "val_loss" not in capsys.readouterr().out


def test_a_step_value_in_a_test_has_its_bare_name(tmp_path):
    """S104: scripts read test(...)[0]["test_acc"] though they log with on_step=True."""

    class Steps(Toy):
        def test_step(self, batch, batch_idx):
            self.log("test_acc", float(batch_idx), on_step=True)

    results = quiet(tmp_path).test(Steps(), loader(), verbose=False)
    assert results[0]["test_acc"] == results[0]["test_acc_epoch"] == 2.5


def test_predictions_come_in_the_order_of_the_data(tmp_path):
    """S119: one list for one loader, lists for several, nothing if it is not wanted; of the
    weights of a file, if one is given.
    """
    trainer = quiet(tmp_path)
    model = Toy()
    one = trainer.predict(model, loader(10))
    assert [i for batch in one for i in batch.tolist()] == list(range(10))
    two = trainer.predict(model, [loader(4), loader(8)])
    assert [len(each) for each in two] == [1, 2]
    assert trainer.predict(model, loader(), return_predictions=False) is None
    assert len(quiet(tmp_path, limit_predict_batches=2).predict(model, loader())) == 2

    class Answers(Toy):
        predict_step = LightningModule.predict_step

    inputs = torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2)
    other = Answers()
    trainer.predict(other, inputs)
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    before = other(torch.ones(2, 4))
    torch.nn.init.ones_(other.net[0].weight)
    assert not torch.allclose(other(torch.ones(2, 4)), before)
    answers = trainer.predict(other, inputs, ckpt_path=tmp_path / "other.ckpt")
    assert torch.allclose(answers[1], before)


def test_predict_by_default_is_forward(tmp_path):
    """Without a predict_step the model's answer to the batch is collected."""

    class Plain(Toy):
        predict_step = Toy.__mro__[1].predict_step

    data = torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2)
    model = Plain()
    assert torch.allclose(quiet(tmp_path).predict(model, data)[1], model(torch.ones(2, 4)))


def test_outputs_reach_the_hooks_of_the_module(tmp_path):
    """S066: predictions may be written batch by batch."""
    written = []

    class Writes(Toy):
        def on_predict_batch_end(self, outputs, batch, batch_idx, dataloader_idx):
            written.append((outputs.tolist(), batch_idx, dataloader_idx))

    quiet(tmp_path).predict(Writes(), loader(8))
    assert written == [([0, 1, 2, 3], 0, 0), ([4, 5, 6, 7], 1, 0)]


def test_outputs_are_collected_only_for_an_epoch_end(tmp_path):
    """Tuples stay tuples; without the hook nothing is kept."""
    kept = {}

    class Collects(Toy):
        def validation_step(self, batch, batch_idx):
            return batch[2], self.loss(batch), batch_idx

        def validation_epoch_end(self, outputs):
            kept["outputs"] = outputs

    quiet(tmp_path).validate(Collects(), loader(), verbose=False)
    assert [output[2] for output in kept["outputs"]] == list(range(6))
    assert all(isinstance(output, tuple) for output in kept["outputs"])


def test_where_loaders_come_from(tmp_path):
    """What is given counts, with a warning; then the data module; then the module."""

    class Own(Toy):
        def predict_dataloader(self):
            return loader(4)

    class Data(LightningDataModule):
        def predict_dataloader(self):
            return loader(8)

    trainer = quiet(tmp_path)
    count = lambda *args, **kwargs: len(trainer.predict(*args, **kwargs))  # noqa: E731
    assert count(Own()) == 1
    with pytest.warns(UserWarning, match="of the data module is used, not that of the module"):
        assert count(Own(), datamodule=Data()) == 2
        assert count(Own(), Data()) == 2
    with pytest.warns(UserWarning, match="is used, not"):
        assert count(Own(), loader(12)) == 3
    with pytest.raises(MisconfigurationException, match="predict_dataloader"):
        trainer.predict(Toy())


def test_gradients_can_be_had_in_a_test_that_asks_for_them(tmp_path):
    """inference_mode=False leaves tensors that autograd takes."""

    class Gradients(Toy):
        def test_step(self, batch, batch_idx):
            with torch.enable_grad():
                self.loss(batch).backward()
            self.log("norm", self.net[0].weight.grad.norm())

    trainer = quiet(tmp_path, inference_mode=False)
    assert trainer.test(Gradients(), loader(), verbose=False)[0]["norm"] > 0


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_a_share_of_no_batch_is_said(tmp_path, verb):
    """Nothing would be evaluated, and nobody would know: an error says so, 0 is silent."""
    kind = "val" if verb in ("fit", "validate") else verb
    loaders = (loader(8), loader(8)) if verb == "fit" else (loader(8),)
    trainer = quiet(tmp_path, **{f"limit_{kind}_batches": 0.25})
    with pytest.raises(MisconfigurationException, match=f"limit_{kind}_batches=0.25.* 2 batches"):
        getattr(trainer, verb)(Toy(), *loaders)

    trainer = quiet(tmp_path, **{f"limit_{kind}_batches": 0.0})
    getattr(trainer, verb)(Toy(), *loaders)


def test_a_file_with_more_than_plain_data_is_read_if_one_says_so(tmp_path):
    """C5: `weights_only=False` in validate, test and predict, as in fit."""
    trainer, path = quiet(tmp_path), tmp_path / "odd.ckpt"
    trainer.fit(Toy(), loader(), loader())
    trainer.save_checkpoint(path)
    torch.save({**torch.load(path), "mine": Toy}, path)
    for verb in (trainer.validate, trainer.test, trainer.predict):
        with pytest.raises(CheckpointError, match="weights_only=False"):
            verb(dataloaders=loader(), ckpt_path=path)
        assert verb(dataloaders=loader(), ckpt_path=path, weights_only=False)
    again = quiet(tmp_path, max_epochs=2)
    again.fit(Toy(), loader(), loader(), ckpt_path=path, weights_only=False)
    assert again.global_step == 12


@pytest.mark.parametrize("word", ["validation", "test", "predict"])
def test_what_the_hooks_of_an_evaluation_find(tmp_path, word):
    """S062, S063, S066, S068: from the first to the last eval mode and no gradients, around a batch
    its output, index and loader; afterwards all is as before."""
    modes, starts, ends = {}, [], []
    names = ["start", "epoch_start", "batch_start", "batch_end", "epoch_end", "end"]

    def noted(name):
        def method(self, *given):
            modes[name] = (self.training, self.net.training, torch.is_grad_enabled())
            if name == "batch_start":
                starts.append((len(given[0][0]), *given[1:]))
            if name == "batch_end":
                ends.append((given[0], len(given[1][0]), *given[2:]))

        return method

    def step(self, batch, batch_idx, dataloader_idx):
        modes["step"] = (self.training, self.net.training, torch.is_grad_enabled())
        return f"{dataloader_idx}-{batch_idx}"

    hooks = {f"on_{word}_{name}": noted(name) for name in names}
    model = type("Finds", (Toy,), {**hooks, f"{word}_step": step})()
    verb = "validate" if word == "validation" else word
    getattr(quiet(tmp_path), verb)(model, [loader(3), loader(6)])
    assert modes == dict.fromkeys([*names, "step"], (False, False, False))
    assert starts == [(3, 0, 0), (4, 0, 1), (2, 1, 1)]
    assert ends == [("0-0", 3, 0, 0), ("1-0", 4, 0, 1), ("1-1", 2, 1, 1)]
    assert model.training and model.net.training and torch.is_grad_enabled()
