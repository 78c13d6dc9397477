"""Schedulers that look at a metric: when they are asked; and optimizers that are assigned."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from engine import LightningModule, MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


class Asked(LightningModule):
    """Notes when its schedulers are asked, and with what."""

    def __init__(self, *plans, logs=(), automatic=True):
        super().__init__()
        self.w = torch.nn.Linear(1, 1)
        self.plans, self.logs, self.asked = plans, logs, []
        self.automatic_optimization = automatic

    def training_step(self, batch, batch_idx):
        if "train" in self.logs:
            self.log("t", float(self.global_step + 1), on_step=False, on_epoch=True)
        return self.w(batch).sum() * 0

    def validation_step(self, batch, batch_idx):
        self.log("v", float(self.global_step))

    def on_train_epoch_end(self):
        if "end" in self.logs:
            self.log("e", 100.0 + self.current_epoch)

    def lr_scheduler_step(self, scheduler, optimizer_idx, metric):
        schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        self.asked.append((schedulers.index(scheduler), self.global_step, float(metric)))
        scheduler.step(metric)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
        return [optimizer], [{"scheduler": plateau(optimizer), **plan} for plan in self.plans]


def asked(folder, *plans, logs=(), batches=8, **options):
    module, data = Asked(*plans, logs=logs), DataLoader(torch.ones(batches, 1))
    quiet(folder, **options).fit(module, data, DataLoader(torch.ones(2, 1)))
    return module.asked


STEPS = {"interval": "step", "monitor": "v"}


@pytest.mark.parametrize(
    ("plan", "options", "found"),
    [
        ({"frequency": 4}, {"val_check_interval": 4}, [(4, 4), (8, 8)]),
        ({"frequency": 4}, {"val_check_interval": 0.25}, [(4, 4), (8, 8)]),
        ({"frequency": 3}, {"val_check_interval": 4, "max_epochs": 2}, [(6, 4), (9, 8), (12, 12)]),
        ({}, {"val_check_interval": 4}, [(4, 4), (8, 8)]),
        ({}, {"max_epochs": 2}, [(8, 8), (16, 16)]),
        ({}, {"check_val_every_n_epoch": 2, "max_epochs": 2}, [(16, 16)]),
        ({}, {"accumulate_grad_batches": 4, "val_check_interval": 4}, [(1, 1), (2, 2)]),
    ],
)
def test_a_plateau_by_step_sees_the_validation_of_its_step(tmp_path, plan, options, found):
    """It is asked when it is due, after the validation of that step, and with each value once."""
    calls = asked(tmp_path, {**STEPS, **plan}, **options)
    assert [call[1:] for call in calls] == found


@pytest.mark.parametrize(
    ("plan", "options", "found"),
    [
        ({"monitor": "v"}, {"max_steps": 6, "val_check_interval": 4}, []),
        ({"monitor": "v"}, {"max_steps": 10, "max_epochs": 2, "val_check_interval": 4}, [(8, 8)]),
        (STEPS, {"max_steps": 6, "val_check_interval": 4}, [(4, 4)]),
        ({"monitor": "v"}, {"check_val_every_n_epoch": 2, "max_epochs": 4}, [(16, 16), (32, 32)]),
        ({"monitor": "v", "frequency": 2}, {"max_epochs": 4}, [(16, 16), (32, 32)]),
        ({"monitor": "t"}, {"max_epochs": 2}, [(8, 4.5), (16, 12.5)]),
        ({"monitor": "t", "interval": "step"}, {"max_epochs": 2}, [(8, 4.5), (16, 12.5)]),
        ({"monitor": "e"}, {"max_epochs": 2}, [(8, 100), (16, 101)]),
        ({"monitor": "e", "interval": "step", "frequency": 8}, {}, [(8, 100)]),
        ({"monitor": "no", "strict": False}, {}, []),
        ({"monitor": "no", "strict": False, "interval": "step"}, {}, []),
    ],
)
@pytest.mark.filterwarnings("ignore:the scheduler looks at 'no'")
def test_a_plateau_is_asked_with_no_value_twice(tmp_path, plan, options, found):
    """Where max_steps ends within an epoch, and in epochs without validation; a metric of the
    training, or of the epoch's last hook, is that of this very epoch.
    """
    calls = asked(tmp_path, plan, logs=("train", "end"), **options)
    assert [call[1:] for call in calls] == found


def test_several_plateaus_are_asked_each_by_its_plan(tmp_path):
    """By step and by epoch, on different metrics; by hand nobody asks any."""
    plans = ({**STEPS, "frequency": 4}, {"monitor": "t"}, {"monitor": "v"})
    calls = asked(tmp_path, *plans, logs=("train",), val_check_interval=4)
    assert calls == [(0, 4, 4.0), (0, 8, 8.0), (1, 8, 4.5), (2, 8, 8.0)]
    by_hand = Asked(*plans, automatic=False)
    quiet(tmp_path).fit(by_hand, DataLoader(torch.ones(8, 1)), DataLoader(torch.ones(2, 1)))
    assert by_hand.asked == []


class Reassigned(Toy):
    """Puts another optimizer in the place of its own, in one hook."""

    def __init__(self, hook):
        super().__init__()
        setattr(self, hook, lambda *_: self.assign())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def assign(self):
        if self.trainer.optimizers[0].param_groups[0]["lr"] == 0.0:
            self.trainer.optimizers = [torch.optim.SGD(self.parameters(), lr=0.1)]


HOOKS = ["on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start"]


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_may_assign_optimizers(tmp_path, hook, window):
    """`trainer.optimizers = [...]` counts from there on, wherever it is said."""
    plain, module = Reassigned("unused"), Reassigned(hook)
    plain.configure_optimizers = lambda: torch.optim.SGD(plain.parameters(), lr=0.1)
    for one in (plain, module):
        quiet(tmp_path, accumulate_grad_batches=window).fit(one, loader())
    assert torch.equal(weights(plain), weights(module))


def test_optimizers_are_assigned_within_a_window_and_by_hand(tmp_path):
    """Gradients that wait for a step are the new one's; a module that steps by hand gets it."""
    module, plain = Reassigned("unused"), Reassigned("unused")
    module.on_train_batch_end = lambda out, batch, idx: idx == 1 and module.assign()
    plain.configure_optimizers = lambda: torch.optim.SGD(plain.parameters(), lr=0.1)
    for one in (module, plain):
        quiet(tmp_path, accumulate_grad_batches=3).fit(one, loader())
    assert torch.equal(weights(plain), weights(module))

    class ByHand(Reassigned):
        def training_step(self, batch, batch_idx):
            if batch_idx == 1:
                self.assign()
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    module = ByHand("unused")
    module.automatic_optimization = False
    before, trainer = weights(module), quiet(tmp_path)
    trainer.fit(module, loader())
    assert not torch.equal(before, weights(module)) and trainer.global_step == 6


def test_optimizers_that_are_assigned_between_runs(tmp_path):
    """They are the next fit's where the module makes none; else a warning says which count."""

    class Without(Toy):
        configure_optimizers = LightningModule.configure_optimizers

    module, trainer = Without(), quiet(tmp_path)
    mine = torch.optim.SGD(module.parameters(), lr=0.1)
    trainer.optimizers = [mine]
    before = weights(module)
    trainer.fit(module, loader())
    assert trainer.optimizers == [mine] and not torch.equal(before, weights(module))
    trainer.optimizers = [mine]
    with pytest.warns(UserWarning, match="was set before fit"):
        trainer.fit(Toy(), loader())
    assert isinstance(trainer.optimizers[0], torch.optim.Adam)
    of_one, of_none = "a list of optimizers, not a SGD", "not something with a int"
    for wrong, words in ((mine, of_one), ([1], of_none)):
        with pytest.raises(MisconfigurationException, match=words):
            trainer.optimizers = wrong
