"""torch.compile: of the module that is handed to fit, and of parts of it."""

from __future__ import annotations

import pytest
import torch

from engine.callbacks import ModelCheckpoint
from engine.loggers import MemoryLogger
from tests.engine.support.toy import Toy, loader, quiet, weights


class Inner(Toy):
    """Compiles its own network, as the documentation of torch says."""

    def configure_model(self):
        return None

    def __init__(self):
        super().__init__()
        self.net.compile(backend="eager")


def test_a_compiled_module_trains_and_logs(tmp_path):
    """`torch.compile(module)` is handed to fit: hooks, self.log and checkpoints are those of the
    module, weights those of a fit without it, and no name in a file has a prefix."""
    plain, module = Toy(), Toy()
    one = quiet(tmp_path, max_epochs=2)
    one.fit(plain, loader(), loader())
    keeps = ModelCheckpoint(dirpath=tmp_path, filename="best", monitor="val_loss")
    trainer = quiet(tmp_path, max_epochs=2, enable_checkpointing=True, callbacks=keeps)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(module, backend=backend)
    trainer.fit(compiled, loader(), loader())
    assert len(graphs) > 1 and trainer.lightning_module is module
    assert torch.allclose(weights(plain), weights(module), rtol=0, atol=1e-7)
    for name in ("train_loss_epoch", "train_loss_step", "val_loss"):
        found, right = trainer.callback_metrics[name], one.callback_metrics[name]
        assert float(found) == pytest.approx(float(right), abs=1e-6)
    assert len(module.seen) == 48
    content = torch.load(keeps.best_model_path)
    assert sorted(content["state_dict"]) == sorted(plain.state_dict())
    again = Toy.load_from_checkpoint(keeps.best_model_path)
    assert len(weights(again)) == len(weights(plain))
    assert trainer.test(compiled, loader(), verbose=False)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_self_log_in_a_compiled_step(tmp_path, backend):
    """A step that is compiled itself may log: no crash, and the right values of the epoch, also
    by a backend that rewrites what is done in place."""

    class Steps(Toy):
        def __init__(self):
            super().__init__()
            self.training_step = torch.compile(self.training_step, backend=backend)
            self.validation_step = torch.compile(self.validation_step, backend=backend)

        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("shown", loss * 0 + batch_idx, on_epoch=True)
            self.log("added", loss * 0 + batch_idx, on_epoch=True, reduce_fx="sum")
            return loss

        def validation_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("val_mean", loss * 0 + batch_idx)
            self.log("val_least", loss * 0 + batch_idx, reduce_fx="min")

    trainer = quiet(tmp_path)
    trainer.fit(Steps(), loader(), loader())
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert found["shown_epoch"] == found["val_mean"] == 2.5
    assert found["shown_step"] == 5.0
    assert found["added_epoch"] == 15.0
    assert found["val_least"] == 0.0


def test_a_compiled_part_leaves_no_prefix(tmp_path):
    """`self.net.compile()` inside the module."""
    model = Inner()
    trainer = quiet(tmp_path)
    trainer.fit(model, loader(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert sorted(torch.load(tmp_path / "a.ckpt")["state_dict"]) == sorted(Toy().state_dict())


class Part(Toy):
    """A part that torch.compile has wrapped: torch puts a prefix before its weights' names."""

    def __init__(self):
        super().__init__()
        self.net = torch.compile(self.net, backend="eager")


@pytest.mark.parametrize(("saved", "loaded"), [(Part, Toy), (Toy, Part), (Part, Part)])
def test_a_compiled_part_reads_what_was_saved_without_and_the_other_way_round(
    tmp_path, saved, loaded
):
    """To load, and to resume from: weights are the same with and without the prefix."""
    first = saved()
    trainer = quiet(tmp_path)
    trainer.fit(first, loader(), loader(4))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    read = loaded.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(weights(read), weights(first))
    resumed = loaded()
    quiet(tmp_path, max_epochs=2).fit(resumed, loader(), loader(4), ckpt_path=tmp_path / "a.ckpt")
    whole = Toy()
    quiet(tmp_path, max_epochs=2).fit(whole, loader(), loader(4))
    assert torch.allclose(weights(resumed), weights(whole), rtol=0, atol=1e-7)


@pytest.mark.parametrize("how", ["module", "step"])
def test_logging_compiles_a_few_times_and_not_in_every_step(tmp_path, how):
    """The first step of an epoch makes its entries, later ones add to them, whatever the sums have
    come to: a graph for each of these, whole, and torch's limit for new ones is not reached."""

    class Logs(Toy):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("mean", loss, on_epoch=True, prog_bar=True)
            self.log("most", loss * 2, on_step=False, on_epoch=True, reduce_fx="max")
            self.log("number", 1.5)
            return loss

    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = Logs()
    if how == "step":
        model.training_step = torch.compile(model.training_step, backend=backend, fullgraph=True)
    given = torch.compile(model, backend=backend, fullgraph=True) if how == "module" else model
    log = MemoryLogger()
    trainer = quiet(tmp_path, max_epochs=3, logger=log, log_every_n_steps=2, limit_val_batches=0)
    trainer.fit(given, loader(count=40), loader(4))
    assert 1 <= len(graphs) <= 4
    assert len(log.series("mean_step")) == 15 and len(log.series("most")) == 3


RANKS = """
import json, sys, torch
from tests.engine.support.toy import Toy, loader, quiet, weights

def fit(compiles):
    model = Toy()
    trainer = quiet(".", strategy="ddp", accelerator="cpu", devices=2, max_epochs=2)
    given = torch.compile(model, backend="aot_eager") if compiles else model
    trainer.fit(given, loader(), loader())
    trainer.save_checkpoint("a.ckpt")
    names = sorted(torch.load("a.ckpt")["state_dict"])
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {"weights": weights(model).tolist(), "names": names, "metrics": found}

json.dump([fit(False), fit(True)], open(sys.argv[1], "w"))
"""


def test_a_compiled_module_on_two_ranks(run_ranks):
    """The same weights, names and metrics as without, with gradients of both ranks."""
    for plain, compiled in run_ranks(RANKS):
        assert compiled["names"] == plain["names"] == sorted(Toy().state_dict())
        assert compiled["weights"] == pytest.approx(plain["weights"], abs=1e-6)
        assert compiled["metrics"] == pytest.approx(plain["metrics"], abs=1e-6)
