"""LearningRateMonitor: the curve of every learning rate, in every logger."""

import pytest
import torch

from engine import MisconfigurationException
from engine.callbacks import LearningRateLogger, LearningRateMonitor
from engine.callbacks.monitors import lr_monitor
from engine.loggers import MemoryLogger
from tests.engine.support.scripted import Scripted, trainer_for


class Halving(Scripted):
    """The rate halves at every step, or epoch."""

    interval = "step"
    scheduler_name = None

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        config = {"scheduler": scheduler, "interval": self.interval}
        if self.scheduler_name:
            config["name"] = self.scheduler_name
        return [optimizer], [config]


def rates(folder, monitor, model, name, **options) -> list[tuple[int, float]]:
    logger = MemoryLogger()
    options = {"max_epochs": 2, "log_every_n_steps": 1, **options}
    trainer_for(folder, monitor, logger=logger, **options).fit(model)
    return logger.series(name)


def test_by_step(tmp_path):
    """S215: one value for each step, before the step that uses it."""
    monitor = LearningRateMonitor(logging_interval="step")
    series = rates(tmp_path, monitor, Halving(), "lr-SGD")

    assert series == [(step, 0.5**step) for step in range(8)]
    assert monitor.lrs["lr-SGD"] == [value for _, value in series]


def test_the_newest_rates_are_kept(tmp_path, monkeypatch):
    """S215: `lrs` has the last values, as a list; loggers have all of them."""
    monkeypatch.setattr(lr_monitor, "KEPT", 3)
    monitor = LearningRateMonitor(logging_interval="step")
    series = rates(tmp_path, monitor, Halving(), "lr-SGD")

    assert len(series) == 8
    assert monitor.lrs == {"lr-SGD": [value for _, value in series[-3:]]}
    assert monitor.lrs["lr-SGD"][-1] == 0.5**7


def test_by_epoch(tmp_path):
    """S215: one value for each epoch."""
    series = rates(tmp_path, LearningRateMonitor("epoch"), Halving(), "lr-SGD")

    assert series == [(0, 1.0), (4, 0.5**4)]


@pytest.mark.parametrize(("interval", "count"), [("step", 8), ("epoch", 2)])
def test_by_default_each_scheduler_has_its_own_interval(tmp_path, interval, count):
    """S215: None logs as often as the scheduler steps."""
    model = Halving()
    model.interval = interval

    assert len(rates(tmp_path, LearningRateMonitor(), model, "lr-SGD")) == count


def test_steps_are_logged_as_seldom_as_other_values(tmp_path):
    """log_every_n_steps holds for the rate, too, and accumulated batches are one step."""
    monitor = LearningRateMonitor("step")
    series = rates(tmp_path, monitor, Halving(), "lr-SGD", log_every_n_steps=4)
    assert len(series) == 2

    monitor = LearningRateMonitor("step")
    series = rates(tmp_path, monitor, Halving(), "lr-SGD", accumulate_grad_batches=2)
    assert series == [(step, 0.5**step) for step in range(4)]


def test_names(tmp_path):
    """A configuration's own name, groups of parameters, momentum, no scheduler at all."""
    model = Halving()
    model.scheduler_name = "my rate"
    assert rates(tmp_path, LearningRateMonitor("epoch"), model, "my rate")

    class Groups(Scripted):
        def configure_optimizers(self):
            other = torch.nn.Parameter(torch.ones(1))
            groups = [{"params": [self.weight]}, {"params": [other], "lr": 0.5}]
            return torch.optim.Adam(groups, lr=0.1)

    logger = MemoryLogger()
    trainer_for(tmp_path, LearningRateMonitor(log_momentum=True), logger=logger).fit(Groups())
    logged = {name: value for _, row in logger.rows for name, value in row.items()}
    assert {name: logged[name] for name in logged if name.startswith("lr-")} == {
        "lr-Adam/pg1": 0.1,
        "lr-Adam/pg1-momentum": 0.9,
        "lr-Adam/pg2": 0.5,
        "lr-Adam/pg2-momentum": 0.9,
    }


def test_groups_may_have_names(tmp_path):
    """`{"params": ..., "name": "head"}` is shown as lr-SGD/head; a name that is taken is not."""

    class Named(Scripted):
        def configure_optimizers(self):
            others = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
            first = {"params": [self.weight], "name": "head"}
            rest = [{"params": [one], "name": "body", "lr": 0.5} for one in others]
            return torch.optim.SGD([first, *rest], lr=0.1)

    logger = MemoryLogger()
    trainer_for(tmp_path, LearningRateMonitor(), logger=logger).fit(Named())
    logged = {name: value for _, row in logger.rows for name, value in row.items()}
    assert {name: logged[name] for name in logged if name.startswith("lr-")} == {
        "lr-SGD/head": 0.1,
        "lr-SGD/body": 0.5,
        "lr-SGD/pg3": 0.5,
    }


def test_without_a_logger_it_is_an_error(tmp_path):
    """It could only be in vain, as its momentum of an optimizer without one: that is a warning."""
    with pytest.raises(MisconfigurationException, match="LearningRateMonitor logs, and the Trai"):
        trainer_for(tmp_path, LearningRateMonitor()).fit(Halving())
    trainer_for(tmp_path, LearningRateMonitor(), fast_dev_run=True).fit(Halving())

    class Without(Scripted):
        def configure_optimizers(self):
            return torch.optim.Adagrad(self.parameters(), lr=1.0)

    monitor = LearningRateMonitor("step", log_momentum=True)
    with pytest.warns(RuntimeWarning, match="Adagrad has no momentum, 0 is logged"):
        assert {
            value for _, value in rates(tmp_path, monitor, Without(), "lr-Adagrad-momentum")
        } == {0}
    rates(tmp_path, LearningRateMonitor(log_momentum=True), Halving(), "lr-SGD")


def test_other_spellings():
    """The name of 1.x, and an interval that is none."""
    assert LearningRateLogger is LearningRateMonitor
    with pytest.raises(ValueError, match="step"):
        LearningRateMonitor("batch")
