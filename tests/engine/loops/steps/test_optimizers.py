"""What configure_optimizers may return, and when schedulers are stepped."""

from __future__ import annotations

import pytest
import torch

from engine import MisconfigurationException
from engine.callbacks import ModelCheckpoint
from engine.loops.optimizers import configure
from tests.engine.support.toy import Toy, loader, quiet, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


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
    """S035, S037, S039, S041: each gives the optimizer and any scheduler with its interval."""
    make, interval = FORMS[form]
    optimization = configure(make(adam, step_lr(adam)))
    assert optimization.optimizers == [adam]
    assert [c.interval for c in optimization.schedulers] == ([interval] if interval else [])


@pytest.mark.parametrize("form", FORMS)
def test_forms_train(tmp_path, form):
    """S035, S037, S039, S041: with each a module learns what a plain loop learns with its Adam, and
    at the rates that its scheduler gives: by epoch, by step, or not at all."""
    make, interval = FORMS[form]

    class Formed(Toy):
        def configure_optimizers(self):
            adam = super().configure_optimizers()
            return make(adam, torch.optim.lr_scheduler.StepLR(adam, 1, gamma=0.9))

    model, plain = Formed(), Toy()
    quiet(tmp_path, max_epochs=2).fit(model, loader())
    adam = plain.configure_optimizers()
    scheduler = torch.optim.lr_scheduler.StepLR(adam, 1, gamma=0.9)
    for number, batch in enumerate([*loader(), *loader()], 1):
        adam.zero_grad()
        plain.loss(batch).backward()
        adam.step()
        if interval == "step" or (interval == "epoch" and number % 6 == 0):
            scheduler.step()
    assert torch.equal(weights(model), weights(plain))


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


def test_what_can_not_be_a_schedule_is_named(adam):
    """A class in the place of a scheduler, and a frequency of none, are errors before training."""
    with pytest.raises(MisconfigurationException, match="give an instance of it: StepLR"):
        configure({"optimizer": adam, "lr_scheduler": torch.optim.lr_scheduler.StepLR})
    with pytest.raises(MisconfigurationException, match="1 or more, not 0"):
        configure(([adam], [{"scheduler": step_lr(adam), "frequency": 0}]))


def test_a_scheduler_of_another_optimizer_is_told(adam):
    """It would change no rate of those that train, and nobody would see why."""
    other = torch.optim.SGD(adam.param_groups[0]["params"], lr=1.0)
    with pytest.warns(RuntimeWarning, match="StepLR was made for an optimizer that is not among"):
        configure(([adam], [step_lr(other)]))
    other.param_groups = adam.param_groups  # as one that wraps another
    configure(([adam], [step_lr(other)]))


def test_a_list_of_schedulers_is_not_one(adam):
    """In a dict there is one scheduler to each optimizer; two lists have room for more."""
    with pytest.raises(MisconfigurationException, match=r"list.*\[optimizers\], \[schedulers\]"):
        configure({"optimizer": adam, "lr_scheduler": [step_lr(adam)]})


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
    """S037, S038: once an epoch, or once an optimizer step (not a batch), or every so many."""

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


@pytest.mark.parametrize("where", ["training_step", "training_epoch_end", "on_train_epoch_end"])
def test_a_plateau_sees_what_its_epochs_training_logged(tmp_path, where):
    """A mean over the epoch's steps, or what a hook of its end logs: of this very epoch, and what
    is saved at the end of the epoch has it.
    """

    class Plateau(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": self.plateau, "monitor": "bad"}

        def training_step(self, batch, batch_idx):
            if where == "training_step":
                self.log("bad", 10.0 + self.current_epoch, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def note(self, *_):
            self.log("bad", 10.0 + self.current_epoch)

    if where != "training_step":
        setattr(Plateau, where, lambda self, *_: self.note())
    model, keeps = Plateau(), ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1)
    trainer = quiet(tmp_path, max_epochs=2, callbacks=keeps, enable_checkpointing=True)
    trainer.fit(model, loader(), loader())
    assert (model.plateau.best, model.plateau.num_bad_epochs) == (10.0, 0)
    assert model.plateau.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    rates = [
        torch.load(tmp_path / f"epoch={epoch}.ckpt")["optimizer_states"][0]["param_groups"][0]["lr"]
        for epoch in (0, 1)
    ]
    assert rates == pytest.approx([0.1, 0.01])


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


def test_rates_are_those_of_a_plain_loop(tmp_path):
    """S044: the user never steps a scheduler, by epoch or by step."""
    rates = {"epoch": [], "step": []}

    class Rated(Toy):
        def __init__(self, interval):
            super().__init__()
            self.interval = interval

        def training_step(self, batch, batch_idx):
            rates[self.interval].append(self.optimizers().param_groups[0]["lr"])
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
            return [optimizer], [{"scheduler": cosine, "interval": self.interval}]

    expected = {"epoch": [], "step": []}
    for interval, found in expected.items():
        quiet(tmp_path, max_epochs=2).fit(Rated(interval), loader())
        optimizer = torch.optim.Adam(Toy().parameters(), lr=0.1)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
        for batch in range(12):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if interval == "step" or batch == 5:
                cosine.step()
    assert rates == expected


class Grouped(Toy):
    """BERT's way: biases do not decay, and learn at another rate."""

    def configure_optimizers(self):
        biases = [p for name, p in self.named_parameters() if name.endswith("bias")]
        others = [p for name, p in self.named_parameters() if not name.endswith("bias")]
        groups = [
            {"params": others, "weight_decay": 0.5},
            {"params": biases, "weight_decay": 0.0, "lr": 0.01},
        ]
        return torch.optim.AdamW(groups, lr=0.1)


def test_groups_of_parameters(tmp_path):
    """S043: each keeps its own settings, in a checkpoint too, and is trained by them."""
    model, again, plain = Grouped(), Grouped(), Grouped()
    first = quiet(tmp_path, max_epochs=1)
    first.fit(model, loader())
    groups = first.optimizers[0].param_groups
    assert [(g["weight_decay"], g["lr"]) for g in groups] == [(0.5, 0.1), (0.0, 0.01)]
    groups[0]["weight_decay"] = 0.25  # no longer what configure_optimizers says
    first.save_checkpoint(tmp_path / "one.ckpt")
    second = quiet(tmp_path, max_epochs=2)
    second.fit(again, loader(), ckpt_path=str(tmp_path / "one.ckpt"))
    groups = second.optimizers[0].param_groups
    assert [(g["weight_decay"], g["lr"]) for g in groups] == [(0.25, 0.1), (0.0, 0.01)]
    optimizer = plain.configure_optimizers()
    for epoch in range(2):
        for batch in loader():
            optimizer.zero_grad()
            plain.loss(batch).backward()
            optimizer.step()
        if epoch == 0:
            optimizer.param_groups[0]["weight_decay"] = 0.25
    assert torch.equal(weights(again), weights(plain))


@pytest.mark.parametrize("needs_closure", [False, True])
def test_an_optimizer_of_the_users_own(tmp_path, needs_closure):
    """S045: a subclass that torch does not know, with a closure that may or must be there."""

    class Optional(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.1})

        def step(self, closure=None):
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter -= 0.1 * parameter.grad
            return loss

    class Needed(Optional):
        def step(self, closure):
            return super().step(closure)

    class Own(Toy):
        def configure_optimizers(self):
            return (Needed if needs_closure else Optional)(self.parameters())

    model, plain = Own(), Own()
    trainer = quiet(tmp_path)
    trainer.fit(model, loader())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for batch in loader():
        optimizer.zero_grad()
        plain.loss(batch).backward()
        optimizer.step()
    assert torch.allclose(weights(model), weights(plain))
    assert trainer.global_step == 6


def test_a_plateau_is_no_error_where_max_steps_ends_the_epoch(tmp_path):
    """The metric that it looks at would have come later."""

    class Late(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_loss"}

    trainer = quiet(tmp_path, max_epochs=2, max_steps=2)
    trainer.fit(Late(), loader(24), loader(8))

    assert trainer.global_step == 2


def test_keys_without_effect_are_named(adam):
    """What Lightning only warned of is no error: extra keys of optimizer and scheduler."""
    given = {"optimizer": adam, "optimizer_idx": 0, "lr_scheduler": step_lr(adam)}
    with pytest.warns(RuntimeWarning, match="without effect: 'optimizer_idx'"):
        assert configure(given).optimizers == [adam]
    wrong = {"optimizer": adam, "schedular": step_lr(adam), "scheduler": 1}
    near = r"'schedular' \(did you mean 'lr_scheduler'\?\), 'scheduler' \(did you mean 'lr_sched"
    with pytest.warns(RuntimeWarning, match=near):
        assert configure([wrong]).schedulers == []
    with pytest.warns(RuntimeWarning, match=r"'intervall' \(did you mean 'interval'\?\)"):
        configure(([adam], [{"scheduler": step_lr(adam), "intervall": "step"}]))
    with pytest.warns(RuntimeWarning, match="without effect: 'gamma'"):
        found = configure(([adam], [{"scheduler": step_lr(adam), "gamma": 0.5}])).schedulers
    assert isinstance(found[0].scheduler, torch.optim.lr_scheduler.StepLR)
