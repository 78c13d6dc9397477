"""ModelCheckpoint: names, the best k, and what a real training leaves on disk."""

import math

from hypothesis import given
from hypothesis import strategies as st

from engine.callbacks.checkpoint.file_names import checkpoint_name, fields_of, numbered
from engine.callbacks.checkpoint.top_k import TopK
from engine.runtime.coordination.timer import SharedTimer

# ------------------------------------------------------------------ names


def test_a_name_is_made_from_the_template():
    """The tutorials' templates give the tutorials' names."""
    values = {"epoch": 2, "step": 300, "val_loss": 0.321, "val/acc": 0.5}

    def name(template: str, **options: object) -> str:
        return checkpoint_name(template, values, **options)

    assert name("sample-mnist-{epoch:02d}-{val_loss:.2f}") == "sample-mnist-epoch=02-val_loss=0.32"
    assert name("{epoch}-{step}") == "epoch=2-step=300"
    assert name("{epoch:02d}", auto_insert_metric_name=False) == "02"
    assert name("{epoch}", prefix="run") == "run-epoch=2"
    assert name("best") == "best"
    assert name("{val/acc:.2f}") == "val_acc=0.50"


def test_a_metric_without_a_value_stands_as_nan():
    """A name never shows a value of another state; also where the format wants a whole number."""
    assert checkpoint_name("{loss:.2f}-{n:03d}", {}) == "loss=nan-n=nan"
    assert checkpoint_name("{n:03d}", {"n": 7.0}) == "n=007"


def test_parts_of_names():
    """The metrics of a template, and the names of further files of one name."""
    assert fields_of("a-{epoch:02d}-{val_loss}") == ["epoch", "val_loss"]
    assert [numbered("best", n) for n in range(3)] == ["best", "best-v1", "best-v2"]


# ------------------------------------------------------------------ the best k


@given(st.lists(st.floats(allow_nan=True), max_size=30), st.integers(1, 5), st.booleans())
def test_the_best_k_are_the_best_k(scores, k, is_min):
    """Whatever comes in whichever order, the k best numbers remain, the earlier among equals."""
    top = TopK(k, "min" if is_min else "max")
    present = set()
    for number, score in enumerate(scores):
        if top.accepts(score):
            present.add(str(number))
            present -= set(top.add(str(number), score))

    numbers = [(s if is_min else -s, n) for n, s in enumerate(scores) if not math.isnan(s)]
    assert sorted(top.scores, key=int) == sorted((str(n) for _, n in sorted(numbers)[:k]), key=int)
    assert present == set(top.scores)
    assert top.best == (str(min(numbers)[1]) if numbers else None)


def test_nan_is_never_among_the_best():
    """Neither at first nor when places are free; k = -1 takes all else, k = 0 nothing."""
    assert not TopK(3).accepts(math.nan)
    assert not TopK(-1).accepts(math.nan)
    assert TopK(-1).accepts(math.inf)
    assert not TopK(0).accepts(1.0)


# ------------------------------------------------------------------ time


class StepClock:
    """A clock that goes on by `tick` whenever a batch is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_interval_is_agreed_on_with_few_questions():
    """In 10,000 batches of 0.1 s, 100 s intervals are met within a second, by a few broadcasts."""
    clock, asked = StepClock(), []

    def broadcast(value: object) -> object:
        asked.append(value)
        return value

    every = SharedTimer(100.0, clock)
    due = []
    for _ in range(10_000):
        clock.now += 0.1
        if every.is_due(broadcast, True):
            due.append(clock.now)

    assert len(due) == 9
    assert all(100 <= b - a <= 101 for a, b in zip([0, *due], due, strict=False))
    assert len(asked) < 300


def test_other_ranks_follow_the_clock_of_rank_zero():
    """A rank with a clock of its own ends its intervals at the very same calls."""
    clock, wrong_clock = StepClock(), StepClock()
    zero, other = SharedTimer(5.0, clock), SharedTimer(5.0, wrong_clock)
    line: list[object] = []

    def send(value: object) -> object:
        line.append(value)
        return value

    def receive(value: object) -> object:
        return line.pop(0)

    for _ in range(200):
        clock.now += 0.3
        assert zero.is_due(send, True) == other.is_due(receive, False)
    assert line == []
