"""Preemption: told to make room, a fit saves, ends with 75, and goes on from there as if nothing
had happened. Real runs, real signals.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.support.preempted import ends, seen, whole, words, write
from tests.launcher.support.runs import Done, Launcher, launcher_in, until

EXAMPLES = Path(__file__).parents[4] / "examples"
SHAPES = {1: (), 2: ("--procs", "2"), 4: ("--nodes", "2", "--procs", "2")}


@pytest.fixture
def plaunch(tmp_path) -> Iterator[Launcher]:
    """The ``plaunch`` command in a folder of its own, with the program in it."""
    write(tmp_path)
    with launcher_in(tmp_path) as launcher:
        yield launcher


def cut(plaunch: Launcher, ranks: int, at: str, number: int, **options: object) -> Done:
    """Start the program, or go on with it; once all ranks wait at a place, tell plaunch."""
    run = plaunch.start(*SHAPES[ranks], "--run-dir", "run", "train.py", *words(**options))
    run.until_file(*(f"{at}-{rank}" for rank in range(ranks)))
    run.signal(number)
    done = run.wait()
    assert done.code == 75, done.err
    assert done.result is not None
    assert done.result["state"] == "preempted"
    assert [rank["exit_code"] for rank in done.result["ranks"]] == [75] * ranks
    return done


def finish(plaunch: Launcher, ranks: int, **options: object) -> Done:
    """Go on with the program, to its end."""
    return plaunch(*SHAPES[ranks], "--run-dir", "run", "train.py", *words(**options)).ok()


def saved_step(done: Done) -> int:
    """The step that rank 0 reported."""
    assert done.values[0] is not None
    return int(done.values[0]["engine"]["global_step"])


def without_cuts(options: dict) -> dict:
    return {key: value for key, value in options.items() if not key.startswith("cut")}


# ---------------------------------------------------------------------- the same run


# With more than two ranks DDP adds in another order in the first step of a process, unless it looks
# for unused parameters: the last bit of a sum of more than two numbers depends on that.
SAME_ORDER = {"strategy": "ddp_find_unused_parameters_true"}


@pytest.mark.parametrize(
    ("ranks", "numbers", "options"),
    [
        (1, (signal.SIGUSR2, signal.SIGHUP), {"cuts": [5, 23, 40]}),
        (2, (signal.SIGTERM, signal.SIGUSR2), {"cuts": [3, 14]}),
        (4, (signal.SIGUSR2, signal.SIGTERM), {"cuts": [3, 8], "trainer": SAME_ORDER}),
        (2, (signal.SIGUSR2,), {"cuts": [2, 5], "trainer": {"accumulate_grad_batches": 3}}),
    ],
    ids=["1 rank", "2 ranks", "4 ranks", "accumulating"],
)
def test_a_run_that_is_cut_again_and_again_equals_the_whole_one(plaunch, ranks, numbers, options):
    """Weights, samples, metrics, rates and best checkpoints are the same bit for bit; each start
    begins at the very step that was reported, and the result tells of all of them.
    """
    expected = whole(ranks, **without_cuts(options))
    steps = []
    for place, step in enumerate(options["cuts"]):
        number = numbers[place % len(numbers)]
        steps.append(saved_step(cut(plaunch, ranks, f"step-{step}", number, **options)))
        assert step < steps[-1] <= step + 2
    done = finish(plaunch, ranks, **options)
    found = ends(plaunch.folder, ranks)
    assert [end["began"] for end in found] == [steps[-1]] * ranks
    assert [{**end, "began": 0} for end in found] == expected.ends
    assert [seen(plaunch.folder, rank) for rank in range(ranks)] == expected.seen
    assert done.result["attempts"] == len(steps) + 1
    assert done.result["preemptions"] == len(steps)
    assert [past["state"] for past in done.result["history"]] == ["preempted"] * len(steps)
    assert [past["step"] for past in done.result["history"]] == steps
    left = {path.name for path in (plaunch.folder / "run/fit-0/checkpoints").iterdir()}
    assert not [name for name in left if name.startswith("preempted")]


# ---------------------------------------------------------------------- any moment


@pytest.mark.parametrize(("ranks", "step"), [(1, 9), (2, 4)])
def test_during_validation(plaunch, ranks, step):
    """The validation is finished first and not repeated, and what it found is still known."""
    options = {"cut_in_validation": step}
    expected = whole(ranks)
    done = cut(plaunch, ranks, "validation", signal.SIGTERM, **options)
    assert step <= saved_step(done) <= step + 2
    finish(plaunch, ranks, **options)
    found = ends(plaunch.folder, ranks)
    assert [{**end, "began": 0} for end in found] == expected.ends
    assert (plaunch.folder / "validated-0").read_text().split() == expected.validated


@pytest.mark.parametrize("ranks", [1, 2])
def test_before_the_first_step(plaunch, ranks):
    """One rank has nothing to save and begins anew, two agree on one of the first steps."""
    expected = whole(ranks)
    done = cut(plaunch, ranks, "start", signal.SIGUSR2, cut_at_start=True)
    assert saved_step(done) <= 2 if ranks > 1 else done.values == [None]
    finish(plaunch, ranks, cut_at_start=True)
    assert [{**end, "began": 0} for end in ends(plaunch.folder, ranks)] == expected.ends


def test_in_an_evaluation_after_the_training(plaunch):
    """There is nothing to save: ranks leave at once with 75, and only the test runs again."""
    options = {"cut_in_test": True, "trainer": {"max_epochs": 1}}
    cut(plaunch, 2, "test", signal.SIGTERM, **options)
    trained = seen(plaunch.folder)
    finish(plaunch, 2, **options)
    assert seen(plaunch.folder) == trained


def test_ranks_that_a_batch_system_signals_itself(plaunch):
    """Each gets its signals from elsewhere, at some moment: again and again the run ends with 75,
    or is over, and in the end it equals the whole one.
    """
    options = {"count": 320, "slow": 0.01, "trainer": SAME_ORDER}
    expected = whole(4, **options)
    draw, codes = random.Random(7), []
    while len(codes) < 4 and 0 not in codes:
        for left in plaunch.folder.glob("pid-*"):
            left.unlink()
        run = plaunch.start(*SHAPES[4], "--run-dir", "run", "train.py", *words(**options))
        files = [plaunch.folder / f"pid-{rank}" for rank in range(4)]
        run.until_file(*(file.name for file in files))
        pids = [int(until(file.read_text, f"{file.name} is written")) for file in files]
        for pid in draw.sample(pids, 4):
            time.sleep(draw.uniform(0, 0.2))  # a moment like any other: nothing is waited for
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, draw.choice((signal.SIGTERM, signal.SIGUSR2)))
        codes.append(run.wait().code)
        assert codes[-1] in (75, 0), run.err
    if 0 not in codes:
        finish(plaunch, 4, **options)
    found = ends(plaunch.folder, 4)
    assert [{**end, "began": 0} for end in found] == expected.ends
    assert [seen(plaunch.folder, rank) for rank in range(4)] == expected.seen


RANDOM = """
import json, os, random, signal, sys, threading, time
import torch
from torch.utils.data import DataLoader, TensorDataset
from engine import LightningModule, Trainer
from engine.runtime.coordination import signals
from engine.callbacks import ModelCheckpoint
from engine.runtime.errors import Preempted

rank = int(os.environ.get("RANK", 0))
draw = random.Random(rank)
data = DataLoader(TensorDataset(torch.randn(40, 4)), batch_size=2)

class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).mean()
    def validation_step(self, batch, batch_idx):
        self.log("val", self.net(batch[0]).mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def tell():
    time.sleep(draw.uniform(0, 0.15))
    for number in draw.sample(signals.SIGNALS, 2):
        os.kill(os.getpid(), number)
        time.sleep(draw.uniform(0, 0.02))

found = []
for moment in range(25):
    signals.preemption.signal = None
    for number in signals.SIGNALS:
        signal.signal(number, lambda *_: None)  # for what comes when a fit is over already
    windows = 3 if moment % 2 else 1
    trainer = Trainer(max_epochs=-1 if moment % 5 else 1, accumulate_grad_batches=windows,
                      val_check_interval=0.5, logger=False, enable_progress_bar=False,
                      enable_model_summary=False, accelerator="cpu", limit_val_batches=2,
                      callbacks=[ModelCheckpoint(f"at-{moment}", save_top_k=0)])
    teller = threading.Thread(target=tell)
    code = 0
    # No signal comes before the fit listens.
    class Told(Net):
        def on_fit_start(self):
            teller.start()
    try:
        trainer.fit(Told(), data, data)
    except Preempted as error:
        code = error.code
    teller.join(30)
    files = os.listdir(f"at-{moment}") if code and os.path.isdir(f"at-{moment}") else []
    found.append([code, trainer.global_step, trainer._state.progress.total_batches, files])
json.dump(found, open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_twenty_five_random_moments(run_ranks, ranks):
    """Each rank is told by itself, at another moment, twice: all stop at one step, at the end of a
    window of accumulation, with a checkpoint of it; or the fit was over before.
    """
    found = run_ranks(RANDOM, ranks=ranks)
    assert all(other == found[0] for other in found)
    for moment, (code, step, batches, files) in enumerate(found[0]):
        assert code == 75 or not moment % 5, found[0]
        if moment % 2:
            assert batches % (20 // ranks) % 3 == 0
        if code and step:
            assert files == [f"preempted-step={step}.ckpt"]


def test_the_example(plaunch):
    """examples/digits.py, cut in the middle, goes on at a step above zero and learns its digits."""
    words = ("--nodes", "2", "--run-dir", "run", str(EXAMPLES / "digits.py"), "--epochs", "12")
    run = plaunch.start(*words)
    run.until(lambda: "epoch 2/12" in run.err, "it trains")
    run.signal(signal.SIGUSR2)
    done = run.wait()
    assert done.code == 75, done.err
    step = saved_step(done)
    assert step > 0
    done = plaunch(*words).ok()
    assert f"preempted-step={step}.ckpt" in done.err
    assert "epoch 1/12" not in done.err
    assert [past["step"] for past in done.result["history"]] == [step]
    assert all(value["test_acc"] > 0.9 for value in done.values)
