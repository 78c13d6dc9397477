"""self.log: where it may be called, and which names and values that means there."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import Callback, MisconfigurationException
from engine.callbacks import EarlyStopping, ModelCheckpoint
from engine.module.logging.allowed_hooks import DEFAULTS, ONCE_AN_EPOCH
from engine.module.logging.values import to_floats
from tests.engine.support.logs import Logs, logged_by, names_like_it, series
from tests.engine.support.toy import Toy, loader, quiet

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


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
    """S070, S084, S085: one value each step, at that step, under the bare name, not in the bar."""
    trainer, logger = logged_by(tmp_path, Logs(hook))
    assert series(logger, "it") == [(i, float(i)) for i in range(6)]
    assert names_like_it(trainer, logger) == {"it"}
    assert float(trainer.callback_metrics["it"]) == 5.0
    assert "it" not in trainer.progress_bar_metrics


@pytest.mark.parametrize("hook", OF_EPOCHS)
def test_elsewhere_in_training_it_is_a_value_an_epoch(tmp_path, hook):
    """S086: at the epoch's last step, under the bare name, not in the bar."""
    trainer, logger = logged_by(tmp_path, Logs(hook), max_epochs=2)
    once = hook == "on_train_start"
    assert series(logger, "it") == [(5, 0.0)] + [(11, 1.0)] * (not once)
    assert names_like_it(trainer, logger) == {"it"}
    assert "it" not in trainer.progress_bar_metrics
    assert float(trainer.callback_metrics["it"]) == float(not once)


@pytest.mark.parametrize("hook", OF_VALIDATION)
def test_in_validation_it_is_a_value_an_epoch(tmp_path, hook):
    """S087-S089, S106: the mean of what came in, monitored by its bare name, not in the bar."""
    trainer, logger = logged_by(tmp_path, Logs(hook))
    calls = 6 if "batch" in hook or "step" in hook else 1
    assert series(logger, "it") == [(5, sum(range(calls)) / calls)]
    assert names_like_it(trainer, logger) == {"it"}
    assert "it" not in trainer.progress_bar_metrics
    assert float(trainer.callback_metrics["it"]) == sum(range(calls)) / calls


@pytest.mark.parametrize(
    "hook", ["test_step", "test_step_end", "test_epoch_end", "on_test_batch_end"]
)
def test_in_a_test_as_in_validation(tmp_path, hook):
    """S087-S089: one value, the mean, also in what test() returns."""
    trainer, logger = logged_by(tmp_path, Logs(hook), run="test")
    mean = 0.0 if "epoch" in hook else 2.5
    assert [value for _, value in series(logger, "it")] == [mean]
    assert names_like_it(trainer, logger) == {"it"}
    assert float(trainer.callback_metrics["it"]) == mean


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
    """S109: the error names the hook and the places for it."""
    trainer = quiet(tmp_path, num_sanity_val_steps=1)
    model = Logs(hook)
    with pytest.raises(MisconfigurationException, match=rf"`{hook}`.*training_step"):
        trainer.fit(model, loader(), loader())
        trainer.predict(model, loader())


@pytest.mark.parametrize("hook", ["on_save_checkpoint", "on_exception"])
def test_where_nothing_can_be_logged_within_another_hook(tmp_path, hook):
    """S067, S109: the error names the hook that logs, not the one that it was called from; module
    and callbacks have both hooks."""

    class Breaks(Toy):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    def logs(self, *given):
        (given[1] if isinstance(self, Callback) else self).log("it", 1.0)

    step = Breaks if hook == "on_exception" else Toy
    for module, watches in ((step, {hook: logs}), (type("Own", (step,), {hook: logs}), {})):
        watch = type("Watch", (Callback,), watches)()
        trainer = quiet(tmp_path, callbacks=watch, enable_checkpointing=True)
        with pytest.raises(MisconfigurationException, match=rf"`{hook}`.*training_step"):
            trainer.fit(module(), loader(), loader())


class Outside(Toy):
    """Logs in a method that is called between the hooks."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def prepare_data(self):
        if self.where == "prepare_data":
            self.log("it", 1.0)

    def on_before_batch_transfer(self, batch, dataloader_idx):
        if self.where == "on_before_batch_transfer":
            self.log_dict({"it": 1.0})
        return batch

    def train_dataloader(self):
        if self.where == "train_dataloader":
            self.log("it", 1.0)
        return loader()


@pytest.mark.parametrize("hook", ["prepare_data", "on_before_batch_transfer", "train_dataloader"])
def test_where_nothing_can_be_logged_between_the_hooks(tmp_path, hook):
    """S109: the error names the method that logs."""
    trainer = quiet(tmp_path)
    with pytest.raises(MisconfigurationException, match=rf"`{hook}`.*training_step"):
        trainer.fit(Outside(hook), None, loader())


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
    """S103, S105: two series, `_step` and `_epoch`; the bare name can be monitored."""
    trainer, logger = logged_by(tmp_path, Logs("training_step", on_epoch=True, prog_bar=True))
    assert series(logger, "it_step") == [(i, float(i)) for i in range(6)]
    assert series(logger, "it_epoch") == [(5, 2.5)]
    assert series(logger, "it") == []
    metrics = to_floats(trainer.callback_metrics)
    assert (metrics["it"], metrics["it_epoch"], metrics["it_step"]) == (2.5, 2.5, 5.0)
    assert to_floats(trainer.progress_bar_metrics) == {"it_epoch": 2.5, "it_step": 5.0}


def test_a_step_in_validation_keeps_the_bare_name_for_monitors(tmp_path):
    """S103, C12: scripts monitor `val_acc` though they log it with on_step=True."""
    best = ModelCheckpoint(tmp_path, "{it:.1f}", monitor="it")
    stop = EarlyStopping("it", mode="max", patience=1)
    trainer, _ = logged_by(
        tmp_path,
        Logs("validation_step", on_step=True),
        callbacks=[best, stop],
        enable_checkpointing=True,
        max_epochs=2,
    )
    metrics = to_floats(trainer.callback_metrics)
    assert metrics["it"] == metrics["it_epoch"] == 8.5
    assert "it_step" not in metrics
    assert (Path(best.best_model_path).name, stop.best_score) == ("it=2.5.ckpt", 8.5)
