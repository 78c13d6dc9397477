"""Numbers of 16, 32 and 64 bits, as each version of Lightning spells them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from engine import MisconfigurationException, Trainer
from engine.strategies.precision import make_precision, precision_name
from tests.engine.support.toy import Toy, loader, quiet, samples


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (16, "16-mixed"),
        ("16", "16-mixed"),
        ("16-mixed", "16-mixed"),
        ("bf16", "bf16-mixed"),
        ("bf16-mixed", "bf16-mixed"),
        (32, "32-true"),
        ("32", "32-true"),
        ("32-true", "32-true"),
        (64, "64-true"),
        ("64", "64-true"),
        ("64-true", "64-true"),
        ("16-true", "16-true"),
        ("bf16-true", "bf16-true"),
    ],
)
def test_every_spelling(given, name):
    """S159: numbers and texts of 1.x, names of 2.x; only mixed precision in 16 bits scales."""
    assert precision_name(given) == name
    trainer = Trainer(precision=given, logger=False, enable_checkpointing=False)
    assert trainer._settings.hardware.precision == name
    scaler = make_precision(name, torch.device("cpu")).scaler
    assert (scaler is not None) == (name == "16-mixed")


@pytest.mark.parametrize(
    ("given", "shown"),
    [(16, 16), ("16", 16), ("16-mixed", "16-mixed"), ("bf16", "bf16"), ("64-true", "64-true")],
)
def test_the_trainer_shows_the_precision_as_it_was_given(given, shown):
    """S159: programs compare it with the words of their own version."""
    trainer = Trainer(precision=given, logger=False, enable_checkpointing=False)
    assert trainer.precision == shown
    assert Trainer(logger=False, enable_checkpointing=False).precision == 32


def test_a_precision_that_there_is_not_lists_those_that_are():
    """S159: the error has the spellings."""
    with pytest.raises(MisconfigurationException, match="bf16-mixed"):
        Trainer(precision=8)


@pytest.mark.parametrize(
    ("precision", "kind"),
    [(64, torch.float64), ("bf16-true", torch.bfloat16), ("16-true", torch.float16)],
)
def test_true_precision_is_that_of_everything(tmp_path, precision, kind):
    """S159, S080: parameters, buffers, what floats in a batch of 32 bits, and what a step makes;
    whole numbers stay as they are, and the process is as before afterwards.
    """
    kinds = set()

    class Typed(Toy):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.ones(1))

        def training_step(self, batch, batch_idx):
            noise = torch.zeros(len(batch["x"][0]), 4)
            output = self.net(batch["x"][0] + noise) * self.scale
            kinds.update({output.dtype, noise.dtype, self.scale.dtype})
            assert batch["y"].dtype == torch.int64
            return functional.cross_entropy(output, batch["y"])

        def validation_step(self, batch, batch_idx):
            kinds.add(self.net(batch["x"][0]).dtype)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def nested(items):
        x, y, _ = torch.utils.data.default_collate(items)
        return {"x": (x,), "y": y}

    model = Typed()
    data = DataLoader(samples(8), batch_size=4, collate_fn=nested)
    quiet(tmp_path, precision=precision).fit(model, data, data)
    assert kinds == {kind}
    assert {p.dtype for p in model.parameters()} == {kind}
    assert torch.get_default_dtype() == torch.float32
    assert torch.isfinite(model.net[0].weight).all()


def test_the_scale_of_the_loss_is_saved(tmp_path):
    """S159: under the name that Lightning's files have it."""
    trainer = quiet(tmp_path, precision=16)
    trainer.fit(Toy(), loader(), loader())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    saved = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert saved["native_amp_scaling_state"]["scale"] > 0
