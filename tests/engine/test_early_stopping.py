"""EarlyStopping: the decision with plain numbers, and the stop of a real training."""

import math

import pytest

from engine.callbacks.early_stopping import Patience


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


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_an_improvement_of_less_than_min_delta_is_none(mode, sign):
    """The value must be better than the best by more than min_delta."""
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
