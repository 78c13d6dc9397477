"""What configure_optimizers may return, and when schedulers are stepped."""

from __future__ import annotations

import pytest
import torch
from toy import Toy, loader, quiet

from engine import MisconfigurationException
from engine.optimizers import configure


@pytest.fixture
def adam():
    return torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])


def step_lr(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1)


FORMS = {
    "an optimizer": (lambda o, s: o, None),
    "a list of one": (lambda o, s: [o], None),
    "two lists": (lambda o, s: ([o], [s]), "epoch"),
    "two lists with a dict": (lambda o, s: ([o], [{"scheduler": s, "interval": "step"}]), "step"),
    "a dict": (lambda o, s: {"optimizer": o}, None),
    "a dict with a scheduler": (lambda o, s: {"optimizer": o, "lr_scheduler": s}, "epoch"),
    "a dict with a dict": (
        lambda o, s: {"optimizer": o, "lr_scheduler": {"scheduler": s, "interval": "step"}},
        "step",
    ),
    "a tuple of a dict": (lambda o, s: ({"optimizer": o, "frequency": 1},), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(adam, form):
    """Each gives the optimizer and, where there is one, the scheduler with its interval."""
    make, interval = FORMS[form]
    optimization = configure(make(adam, step_lr(adam)))
    assert optimization.optimizers == [adam]
    assert [c.interval for c in optimization.schedulers] == ([interval] if interval else [])


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("adam", "str"),
        ({"optimiser": 1}, "optimiser"),
        ([1], "int"),
    ],
)
def test_other_forms_are_explained(returned, words):
    """The message says what may be returned."""
    with pytest.raises(MisconfigurationException, match=rf"{words}.*it may return"):
        configure(returned)


def test_forms_of_several():
    """S036, S037, S040: lists, pairs of lists and dicts; a scheduler knows its optimizer."""
    first, second = (torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]) for _ in range(2))
    schedulers = [step_lr(second), {"scheduler": step_lr(first), "interval": "step"}]
    assert configure((first, second)).optimizers == [first, second]
    two_lists = configure(([first, second], schedulers))
    assert two_lists.optimizers == [first, second]
    assert [(c.opt_idx, c.interval) for c in two_lists.schedulers] == [(1, "epoch"), (0, "step")]
    dicts = configure(
        (
            {"optimizer": first, "frequency": 5, "lr_scheduler": step_lr(first)},
            {"optimizer": second, "frequency": 1},
        )
    )
    assert dicts.optimizers == [first, second]
    assert dicts.frequencies == [5, 1]
    assert [c.opt_idx for c in dicts.schedulers] == [0]
    assert configure([{"optimizer": first}, {"optimizer": second}]).frequencies == []


@pytest.mark.parametrize("frequencies", [(1, None), (0, 1), ("a", 1)])
def test_frequencies_that_make_no_sense(adam, frequencies):
    """Of all optimizers or of none, from 1 on."""
    with pytest.raises(MisconfigurationException, match="frequency"):
        configure([{"optimizer": adam, "frequency": n} for n in frequencies])


def test_a_plateau_needs_a_metric(adam):
    """At once, not after an epoch."""
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam)
    with pytest.raises(MisconfigurationException, match="monitor"):
        configure(([adam], [plateau]))
    assert (
        configure({"optimizer": adam, "lr_scheduler": plateau, "monitor": "val_loss"})
        .schedulers[0]
        .monitor
        == "val_loss"
    )


class Counted(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer):
        self.steps = -1  # the first is torch's own, at construction
        super().__init__(optimizer)

    def step(self, *args):
        self.steps += 1

    def get_lr(self):
        return [0.1]


@pytest.mark.parametrize(
    ("config", "window", "steps"),
    [
        ({}, 1, 2),
        ({"interval": "step"}, 1, 12),
        ({"interval": "step"}, 4, 4),
        ({"interval": "step", "frequency": 5}, 1, 2),
        ({"frequency": 2}, 1, 1),
    ],
)
def test_when_schedulers_step(tmp_path, config, window, steps):
    """Once an epoch, or once an optimizer step (not a batch), or every so many."""

    class Scheduled(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            self.counted = Counted(optimizer)
            return [optimizer], [{"scheduler": self.counted, **config}]

    model = Scheduled()
    quiet(tmp_path, max_epochs=2, accumulate_grad_batches=window).fit(model, loader(), loader())
    assert model.counted.steps == steps


def test_a_plateau_sees_the_validation_of_its_epoch(tmp_path):
    """It steps after validation, with the metric that it looks at."""

    class Plateau(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": self.plateau, "monitor": "bad"}

        def validation_step(self, batch, batch_idx):
            self.log("bad", float(self.current_epoch))

    model = Plateau()
    quiet(tmp_path, max_epochs=3).fit(model, loader(), loader())
    assert model.plateau.best == 0.0
    assert model.plateau.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_a_plateau_without_its_metric(tmp_path):
    """The error lists what was logged."""

    class Plateau(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "vall_loss"}

    with pytest.raises(MisconfigurationException, match=r"'vall_loss'.*val_loss"):
        quiet(tmp_path).fit(Plateau(), loader(), loader())


def test_the_number_of_steps_is_known_beforehand(tmp_path):
    """Schedulers over a whole run ask for it in configure_optimizers."""
    known = []

    class Cycle(Toy):
        def configure_optimizers(self):
            known.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    trainer = quiet(tmp_path, max_epochs=3, accumulate_grad_batches=4)
    trainer.fit(Cycle(), loader(), loader())
    assert known == [6] == [trainer.global_step]
