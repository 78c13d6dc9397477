"""self.log: what arrives where, under which name, as which value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy import Toy, loader, quiet

from engine import Callback, LightningModule, MisconfigurationException
from engine.logged import DEFAULTS, ONCE_AN_EPOCH, batch_size, to_floats
from engine.loggers import MemoryLogger

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


class Logs(Toy):
    """Logs in one hook, once a call; the value is the index of the batch."""

    def __init__(self, hook, **arguments):
        super().__init__()
        self.count = 0
        base = getattr(super(), hook, None)

        def method(*args):
            self.log("it", float(self.count), **arguments)
            self.count += 1
            if base is not None and hook in ("training_step", "optimizer_step", "backward"):
                return base(*args)
            return args[0] if hook.endswith("step_end") else None

        setattr(self, hook, method)


def logged_by(tmp_path, model, run="fit", **options):
    logger = MemoryLogger()
    trainer = quiet(tmp_path, logger=logger, log_every_n_steps=1, **options)
    if run == "fit":
        trainer.fit(model, loader(), loader())
    else:
        trainer.test(model, loader(), verbose=False)
    return trainer, logger


def series(logger, name):
    """The (step, value) pairs of a name."""
    return [(step, values[name]) for step, values in logger.rows if name in values]


EVERY_BATCH = [
    "training_step",
    "training_step_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "backward",
    "optimizer_step",
    "on_batch_end",
]
OF_EPOCHS = ["on_train_start", "on_train_epoch_start", "on_train_epoch_end", "training_epoch_end"]
OF_VALIDATION = [
    "validation_step",
    "validation_step_end",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_start",
    "on_validation_start",
    "validation_epoch_end",
    "on_validation_epoch_end",
]


@pytest.mark.parametrize("hook", EVERY_BATCH)
def test_in_a_training_batch_the_default_is_a_value_a_step(tmp_path, hook):
    """One value each step, at that step, under the bare name."""
    trainer, logger = logged_by(tmp_path, Logs(hook))
    assert series(logger, "it") == [(i, float(i)) for i in range(6)]
    assert float(trainer.callback_metrics["it"]) == 5.0
    assert "it" not in trainer.progress_bar_metrics


@pytest.mark.parametrize("hook", OF_EPOCHS)
def test_elsewhere_in_training_it_is_a_value_an_epoch(tmp_path, hook):
    """At the epoch's last step."""
    trainer, logger = logged_by(tmp_path, Logs(hook), max_epochs=2)
    once = hook == "on_train_start"
    assert series(logger, "it") == [(5, 0.0)] + [(11, 1.0)] * (not once)
    assert float(trainer.callback_metrics["it"]) == float(not once)


@pytest.mark.parametrize("hook", OF_VALIDATION)
def test_in_validation_it_is_a_value_an_epoch(tmp_path, hook):
    """The mean of what came in, monitored by its bare name."""
    trainer, logger = logged_by(tmp_path, Logs(hook))
    calls = 6 if "batch" in hook or "step" in hook else 1
    assert series(logger, "it") == [(5, sum(range(calls)) / calls)]
    assert float(trainer.callback_metrics["it"]) == sum(range(calls)) / calls


@pytest.mark.parametrize("hook", ["test_step", "test_epoch_end", "on_test_batch_end"])
def test_in_a_test_as_in_validation(tmp_path, hook):
    """One value, also in what test() returns."""
    _, logger = logged_by(tmp_path, Logs(hook), run="test")
    assert len(series(logger, "it")) == 1


@pytest.mark.parametrize(
    "hook",
    [
        "setup",
        "configure_optimizers",
        "on_fit_start",
        "on_train_end",
        "on_validation_end",
        "on_sanity_check_start",
        "predict_step",
        "teardown",
        "on_predict_batch_end",
    ],
)
def test_where_nothing_can_be_logged(tmp_path, hook):
    """The error names the hook and the places for it."""
    trainer = quiet(tmp_path, num_sanity_val_steps=1)
    model = Logs(hook)
    with pytest.raises(MisconfigurationException, match=rf"`{hook}`.*training_step"):
        trainer.fit(model, loader(), loader())
        trainer.predict(model, loader())


@pytest.mark.parametrize("hook", sorted(ONCE_AN_EPOCH & set(OF_EPOCHS + OF_VALIDATION)))
def test_there_is_no_step_at_the_end_of_an_epoch(tmp_path, hook):
    """on_step=True there is refused."""
    with pytest.raises(MisconfigurationException, match="on_step=True"):
        logged_by(tmp_path, Logs(hook, on_step=True))


def test_the_table_has_all_of_them():
    """The tests above go through the whole table but for the hooks of 1.x's twins."""
    tested = {*EVERY_BATCH, *OF_EPOCHS, *OF_VALIDATION}
    left = {name for name in DEFAULTS if name not in tested and "test" not in name}
    assert left == {
        "on_batch_start",
        "on_epoch_start",
        "on_epoch_end",
        "optimizer_zero_grad",
        "configure_gradient_clipping",
    }


def test_both_a_step_and_an_epoch(tmp_path):
    """Two series, `_step` and `_epoch`; the bare name can be monitored."""
    trainer, logger = logged_by(tmp_path, Logs("training_step", on_epoch=True, prog_bar=True))
    assert series(logger, "it_step") == [(i, float(i)) for i in range(6)]
    assert series(logger, "it_epoch") == [(5, 2.5)]
    assert series(logger, "it") == []
    metrics = to_floats(trainer.callback_metrics)
    assert (metrics["it"], metrics["it_epoch"], metrics["it_step"]) == (2.5, 2.5, 5.0)
    assert to_floats(trainer.progress_bar_metrics) == {"it_epoch": 2.5}


def test_a_step_in_validation_keeps_the_bare_name_for_monitors(tmp_path):
    """Scripts monitor `val_acc` though they log it with on_step=True."""
    trainer, _ = logged_by(tmp_path, Logs("validation_step", on_step=True))
    metrics = to_floats(trainer.callback_metrics)
    assert metrics["it"] == metrics["it_epoch"] == 2.5
    assert "it_step" not in metrics


def test_the_mean_is_over_samples(tmp_path):
    """A smaller last batch counts less; batch_size says what the batch does not show."""

    class Mean(Toy):
        def validation_step(self, batch, batch_idx):
            value = batch[2].float().mean()
            self.log("mean", value)
            self.log("given", float(batch_idx), batch_size=1)

    trainer = quiet(tmp_path)
    trainer.fit(Mean(), loader(), loader(10))
    assert float(trainer.callback_metrics["mean"]) == 4.5
    assert float(trainer.callback_metrics["given"]) == 1.0


@pytest.mark.parametrize(
    ("reduce", "value"),
    [
        ("max", 5.0),
        (torch.max, 5.0),
        ("min", 0.0),
        (torch.sum, 15.0),
        ("mean", 2.5),
        (lambda values: values.median(), 2.0),
    ],
)
def test_reductions(tmp_path, reduce, value):
    """By name, torch's own, or a function of the user's."""
    trainer, _ = logged_by(tmp_path, Logs("validation_step", reduce_fx=reduce))
    assert float(trainer.callback_metrics["it"]) == value


@pytest.mark.parametrize("value", [1, 1.5, np.float64(2.5), torch.tensor([3.0]), torch.tensor(2)])
def test_values_of_many_kinds(tmp_path, value):
    """Numbers of python, numpy and torch; names with spaces."""

    class Kinds(Toy):
        def validation_step(self, batch, batch_idx):
            self.log("a name", value, on_step=True)

    trainer, logger = logged_by(tmp_path, Kinds())
    assert float(trainer.callback_metrics["a name"]) == float(value)
    assert series(logger, "a name_epoch") == [(5, float(value))]


@pytest.mark.parametrize("value", [torch.ones(2), "text", None])
def test_what_is_no_number_is_refused(tmp_path, value):
    """The name is in the message."""

    class Odd(Toy):
        def training_step(self, batch, batch_idx):
            self.log("odd", value)
            return self.loss(batch)

    with pytest.raises(MisconfigurationException, match="'odd'"):
        quiet(tmp_path).fit(Odd(), loader(), loader())


def test_how_often_loggers_get_step_values(tmp_path):
    """Every log_every_n_steps optimizer steps; the epoch goes with them."""
    logger = MemoryLogger()
    trainer = quiet(tmp_path, logger=logger, log_every_n_steps=5, max_epochs=2)
    trainer.fit(Toy(), loader(), loader())
    assert [step for step, _ in series(logger, "train_loss_step")] == [4, 9]
    assert [value for _, value in series(logger, "epoch")][-1] == 1
    assert len(series(logger, "val_loss")) == 2


def test_loggers_all_get_the_same_and_false_keeps_it_from_them(tmp_path):
    """logger=False is for monitors only."""
    first, second = MemoryLogger(), MemoryLogger()

    class Some(Toy):
        def validation_step(self, batch, batch_idx):
            self.log_dict({"a": 1.0, "b": 2.0}, logger=False)
            self.log("c", 3.0)

    trainer = quiet(tmp_path, logger=[first, second])
    trainer.fit(Some(), loader(), loader())
    assert first.rows == second.rows
    assert not series(first, "a")
    assert {"a", "b", "c"} <= set(trainer.callback_metrics)
    assert (trainer.logger, trainer.loggers) == (first, [first, second])


def test_several_loaders_have_names_of_their_own(tmp_path):
    """A suffix says which, unless it is not wanted; test() gives each loader's own."""

    class Two(Toy):
        def test_step(self, batch, batch_idx, dataloader_idx):
            self.log("x", float(dataloader_idx))
            self.log("same", 1.0, add_dataloader_idx=False)

    trainer = quiet(tmp_path)
    results = trainer.test(Two(), [loader(), loader(8)], verbose=False)
    assert results == [
        {"x/dataloader_idx_0": 0.0, "same": 1.0},
        {"x/dataloader_idx_1": 1.0, "same": 1.0},
    ]


def test_metric_objects_add_up_by_themselves(tmp_path):
    """A torchmetrics object is computed once an epoch and begins anew after it."""
    torchmetrics = pytest.importorskip("torchmetrics")

    class Counts(Toy):
        def __init__(self):
            super().__init__()
            self.mean = torchmetrics.MeanMetric()

        def validation_step(self, batch, batch_idx):
            self.mean(batch[2].float())
            self.log("mean", self.mean)

    _, logger = logged_by(tmp_path, Counts(), max_epochs=2)
    assert [value for _, value in series(logger, "mean")] == [11.5, 11.5]


def test_a_value_that_changes_later_counts_as_it_was(tmp_path):
    """An epoch's sum takes in the number, not the memory that it lies in."""

    class Changes(Toy):
        def validation_step(self, batch, batch_idx):
            value = torch.tensor(float(batch_idx))
            self.log("v", value)
            value.fill_(100.0)

    trainer = quiet(tmp_path)
    trainer.fit(Changes(), loader(), loader())
    assert float(trainer.callback_metrics["v"]) == 2.5


def test_logging_keeps_no_graph_and_does_not_grow(tmp_path):
    """What is kept of a step is one detached number."""
    kept = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            entries = trainer._logged.collection.entries
            assert not any(e.latest.requires_grad for e in entries.values())
            kept.append(sum(len(e.values) for e in entries.values()) + len(entries))

    quiet(tmp_path, callbacks=Watch(), max_epochs=2).fit(Toy(), loader(), loader())
    assert set(kept) == {1}


def test_arguments_of_old_versions_are_taken(tmp_path):
    """Those of truncated backpropagation and process groups change nothing here."""

    class Old(Toy):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("a", loss, False, True, True, False, torch.mean, torch.mean, 0, False, False)
            self.log("b", loss, sync_dist=True, sync_dist_op="mean", sync_dist_group=None)
            self.log("c", loss, enable_graph=True)
            return loss

    trainer = quiet(tmp_path)
    trainer.fit(Old(), loader(), loader())
    assert {"a", "b", "c"} <= set(trainer.callback_metrics)


def test_a_module_alone_can_be_stepped():
    """Without a trainer, self.log has no effect and says so."""
    with pytest.warns(UserWarning, match="outside of a Trainer"):
        loss = Toy().training_step(next(iter(loader())), 0)
    assert loss.requires_grad


def test_the_experiment_is_the_loggers_own(tmp_path):
    """self.logger.experiment takes what self.log does not."""

    class Draws(LightningModule):
        def test_step(self, batch, batch_idx):
            self.logger.experiment.add_text("note", "hello", self.global_step)

    trainer = quiet(tmp_path, logger=True)
    trainer.test(Draws(), loader(4), verbose=False)
    assert list(tmp_path.glob("lightning_logs/version_0/events*"))


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(3, 2), 3),
        ([torch.zeros(4), torch.zeros(4)], 4),
        ({"a": "x", "b": torch.zeros(5, 1)}, 5),
        ([["a", "b"], torch.zeros(2)], 2),
        ([{"x": torch.zeros(6)}], 6),
        (torch.tensor(1.0), 1),
        ("text", 1),
    ],
)
def test_the_size_of_a_batch(batch, size):
    """The length of the first tensor that is found."""
    assert batch_size(batch) == size
