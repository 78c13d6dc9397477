"""EarlyStopping: the decision with plain numbers, and the stop of a real training."""

import math

import pytest
import torch

from engine.callbacks import EarlyStopping
from engine.callbacks.stopping.early_stopping import Patience
from tests.engine.support.scripted import Scripted, trainer_for


def stops_after(rule: Patience, values: list[float]) -> int | None:
    """How many values it takes until the rule wants to stop."""
    for count, value in enumerate(values, start=1):
        if rule.reason_to_stop(value):
            return count
    return None


def test_it_waits_for_patience_values_without_improvement():
    """Three values that are no better end it, counted anew after each improvement."""
    assert stops_after(Patience(patience=3), [5, 4, 4, 4, 3, 3, 3, 3]) == 8
    assert stops_after(Patience(patience=3), [5, 4, 4, 4, 3]) is None
    assert stops_after(Patience(patience=3), [5, 6, 6, 6]) == 4


def test_max_mode_wants_larger_values():
    """With mode='max' a smaller value is none better."""
    assert stops_after(Patience(patience=1, mode="max"), [0.1, 0.2, 0.3, 0.25]) == 4
    with pytest.raises(ValueError, match="min, max"):
        Patience(mode="auto")
    with pytest.raises(ValueError, match="patience must be at least 0"):
        Patience(patience=-1)


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_an_improvement_of_less_than_min_delta_is_none(mode, sign):
    """S214: the value must be better than the best by more than min_delta."""
    values = [sign * value for value in (1.0, 0.95, 0.91)]
    assert stops_after(Patience(patience=2, min_delta=0.1, mode=mode), values) == 3
    assert stops_after(Patience(patience=2, min_delta=0.01, mode=mode), values) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_stops_at_once(value):
    """Unless check_finite is off; then NaN is no improvement."""
    assert stops_after(Patience(patience=3), [1.0, value]) == 2
    assert stops_after(Patience(patience=3, check_finite=False), [1.0, math.nan]) is None


def test_thresholds():
    """Good enough stops, and so does hopeless."""
    assert stops_after(Patience(stopping_threshold=0.1), [0.5, 0.2, 0.05]) == 3
    assert stops_after(Patience(mode="max", stopping_threshold=0.9), [0.5, 0.95]) == 2
    assert stops_after(Patience(divergence_threshold=10.0), [5.0, 9.0, 11.0]) == 3
    assert stops_after(Patience(mode="max", divergence_threshold=0.1), [0.5, 0.05]) == 2


# ------------------------------------------------------------------ in a real training


def epochs_until_it_stops(folder, callback, scores, name="early_stop_on", **options) -> int:
    trainer = trainer_for(folder, callback, **{"max_epochs": len(scores), **options})
    trainer.fit(Scripted(scores, name=name))
    return trainer.current_epoch


def test_the_defaults(tmp_path):
    """S212, C3: it watches early_stop_on, smaller is better, and has a patience of 3."""
    stopping = EarlyStopping()
    defaults = ("early_stop_on", 0.0, 3, "min")
    assert (stopping.monitor, stopping.min_delta, stopping.patience, stopping.mode) == defaults

    assert epochs_until_it_stops(tmp_path, stopping, [5.0, 4, 4, 4, 4, 3, 2]) == 5
    assert stopping.stopped_epoch == 4
    assert stopping.wait_count == 3
    assert stopping.best_score == 4


def test_the_monitor_can_be_the_first_argument(tmp_path):
    """S213: EarlyStopping('val_loss'), as in the tutorials."""
    stopping = EarlyStopping("val_loss", patience=1)

    assert epochs_until_it_stops(tmp_path, stopping, [1.0, 2, 3], "val_loss") == 2


def test_patience_counts_validations_and_not_epochs(tmp_path):
    """S214: with validation every second epoch, two epochs cost one unit of patience."""
    for options in ({}, {"check_on_train_epoch_end": True}):
        stopping = EarlyStopping(patience=2, **options)
        epochs = epochs_until_it_stops(
            tmp_path, stopping, [1.0] * 9, max_epochs=18, check_val_every_n_epoch=2
        )
        assert epochs == 6


def test_validations_within_an_epoch_count(tmp_path):
    """With val_check_interval=0.5 the training ends in the middle of an epoch."""
    stopping = EarlyStopping(patience=2)
    trainer = trainer_for(tmp_path, stopping, max_epochs=9, val_check_interval=0.5)
    trainer.fit(Scripted([1.0] * 18, name="early_stop_on"))

    assert trainer.global_step == 6


def test_a_missing_metric_is_an_error_unless_not_strict(tmp_path):
    """S212, C3: strict names what was logged; otherwise the training goes on."""
    with pytest.raises(RuntimeError, match=r"'early_stop_on'.*score, train_loss"):
        epochs_until_it_stops(tmp_path, EarlyStopping(), [1.0], "score")

    epochs = epochs_until_it_stops(tmp_path, EarlyStopping(strict=False), [1.0, 1.0], "score")
    assert epochs == 2


def test_a_training_metric_without_any_validation(tmp_path):
    """Where nothing validates, the epochs are checked."""
    stopping = EarlyStopping("train_loss", patience=1, mode="max")
    trainer = trainer_for(tmp_path, stopping, max_epochs=9, limit_val_batches=0)
    trainer.fit(Scripted())

    assert trainer.current_epoch == 2


def test_min_epochs_comes_first(tmp_path):
    """The wish to stop waits for min_epochs."""
    stopping = EarlyStopping(patience=1)

    assert epochs_until_it_stops(tmp_path, stopping, [1.0] * 9, min_epochs=5) == 5


def test_the_count_survives_a_resume(tmp_path):
    """What was waited before the interruption counts after it."""
    first = EarlyStopping(patience=3)
    trainer = trainer_for(tmp_path, first, max_epochs=3)
    trainer.fit(Scripted([1.0, 1.0, 1.0], name="early_stop_on"))
    trainer.save_checkpoint(tmp_path / "a.ckpt")

    second = EarlyStopping(patience=3)
    resumed = trainer_for(tmp_path, second, max_epochs=9)
    resumed.fit(Scripted([1.0] * 9, name="early_stop_on"), ckpt_path=str(tmp_path / "a.ckpt"))

    assert resumed.current_epoch == 4


def test_it_says_why(tmp_path, capsys):
    """verbose=True writes the reason."""
    epochs_until_it_stops(tmp_path, EarlyStopping(patience=1, verbose=True), [1.0, 2.0])

    assert "early_stop_on: no better than 1 in 1 checks" in capsys.readouterr().err


def test_nothing_is_asked_in_a_trial(tmp_path):
    """fast_dev_run ends as always, even where the metric is not logged."""
    epochs_until_it_stops(tmp_path, EarlyStopping(), [], "score", fast_dev_run=True, max_epochs=1)


def test_what_programs_read_and_set():
    """S212: the settings and the count are attributes, the best score is a tensor as in 1.x; a mode
    "auto" of 1.0 goes by the metric's name.
    """
    stopping = EarlyStopping("val_acc", mode="auto", patience=5)
    assert stopping.mode == "max" and stopping.best_score.item() == -math.inf
    assert [EarlyStopping(name, mode="auto").mode for name in ("loss", "fmeasure")] == [
        "min",
        "max",
    ]
    stopping.patience, stopping.min_delta, stopping.wait_count = 2, 0.5, 1
    stopping.best_score = torch.tensor(0.25)
    assert (stopping.patience, stopping.min_delta, stopping.wait_count) == (2, 0.5, 1)
    assert stopping.best_score.item() == 0.25
    assert stopping.state_dict()["best_score"] == 0.25
    assert stopping._rule.reason_to_stop(0.5)  # no better by 0.5, and the second time
    with pytest.raises(ValueError, match="min, max"):
        EarlyStopping("loss", mode="low")
