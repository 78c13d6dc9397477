"""OneCycleLR: one of the schedulers that are meant to be stepped after each batch."""

from __future__ import annotations

import pytest
import torch

from engine.loops.optimizers import configure
from tests.engine.support.toy import Toy, loader, quiet


@pytest.fixture
def adam() -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])


@pytest.mark.parametrize(
    ("total", "interval", "max_epochs", "is_told"),
    [
        (100, "epoch", 10, True),
        (100, "epoch", None, True),
        (100, "epoch", -1, True),
        (10, "epoch", 10, False),
        (100, "step", 10, False),
    ],
)
def test_one_cycle_by_epoch_is_told_of(adam, recwarn, total, interval, max_epochs, is_told):
    """Its total_steps are those of batches, mostly: then it would never come down again. By hand
    it is stepped as the module likes.
    """
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, 1.0, total_steps=total)
    given = [adam], [{"scheduler": cycle, "interval": interval}]
    configure(given, True, max_epochs)
    configure(given, False, max_epochs)
    said = [str(one.message) for one in recwarn if "'interval': 'step'" in str(one.message)]
    assert len(said) == is_told
    assert all(f"OneCycleLR has {total} steps" in one for one in said)


def test_the_trainer_knows_its_epochs_of_one_cycle(tmp_path):
    """A cycle as long as the fit has epochs is meant so; a longer one is told of."""

    class Cycle(Toy):
        total = 2

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            kind = torch.optim.lr_scheduler.OneCycleLR
            return [optimizer], [kind(optimizer, 1.0, total_steps=self.total)]

    quiet(tmp_path, max_epochs=2).fit(Cycle(), loader(8), loader(8))
    Cycle.total = 4
    with pytest.warns(RuntimeWarning, match="OneCycleLR has 4 steps"):
        quiet(tmp_path, max_epochs=2).fit(Cycle(), loader(8), loader(8))
