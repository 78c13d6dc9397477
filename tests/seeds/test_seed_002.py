"""The beginner's code blocks: digits of scikit-learn, with the metrics of 1.4."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.seeds.repairs import Repair

# The page shows it without its indentation.
DATASET = """
class SKDigitsDataset(Dataset):
def __init__(self, is_train=True):
digits = load_digits()
is_odd = np.arange(len(digits.target)) % 4 == 3
chosen = ~is_odd if is_train else is_odd
self.x = digits.data[chosen].astype(np.float32) / 16
self.y = digits.target[chosen].astype(np.int64)
def __len__(self):
return len(self.y)
def __getitem__(self, index):
return self.x[index], self.y[index]
"""
LINES = DATASET.strip().splitlines()
IMPORTS = """
import numpy as np
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
"""


def _indented(line):
    depth = 1 if line.startswith("def ") else 2
    return Repair(f"\n{line}\n", f"\n{' ' * 4 * depth}{line}\n", "its indentation is lost")


REPAIRS = tuple(_indented(line) for line in LINES[1:])


@pytest.fixture
def block(old):
    return old("old_002")


@pytest.fixture
def data(run_block):
    dataset = run_block(IMPORTS + DATASET, REPAIRS)["SKDigitsDataset"]
    return dataset(is_train=True), dataset(is_train=False)


def test_dataset(run_block, data):
    """S281, C10: with its indentation back, it is an ordinary dataset."""
    with pytest.raises(IndentationError):
        run_block(IMPORTS + DATASET)
    for left_out in REPAIRS:
        some = tuple(each for each in REPAIRS if each is not left_out)
        with pytest.raises((SyntaxError, NotImplementedError)):
            run_block(IMPORTS + DATASET, some)["SKDigitsDataset"]()[0]
    train, val = data
    assert (len(train), len(val)) == (1348, 449)
    assert (train[0][0].shape, train[0][0].max() <= 1) == ((64,), True)


def test_classifier(block, data):
    """S280: a step whose argument is called `batch_index`, a validation that returns tuples, and
    numbers of numpy in `log`: `val_accuracy` is scikit-learn's."""
    torch.manual_seed(1)
    train = torch.utils.data.Subset(data[0], range(40 * 32))  # the last validation is at its end
    trainer = block.main(train, data[1], epochs=2)
    model = trainer.lightning_module

    val = data[1]
    with torch.no_grad():
        said = model(torch.tensor(val.x)).argmax(dim=1)
    batches = [accuracy_score(val.y[n : n + 64], said[n : n + 64]) for n in range(0, len(val), 64)]
    shown = trainer.callback_metrics
    assert float(shown["val_accuracy"]) == pytest.approx(sum(batches) / len(batches), abs=1e-6)
    assert shown["val_accuracy"] > 0.8
    assert "train loss" in shown


def test_fit_without_validation(block, data):
    """S282: without a loader for validation it trains, batches of one, and says once that there is
    no validation."""
    with pytest.warns(UserWarning, match="no validation") as said:
        trainer = block.fit_without_validation(data[0])
    assert sum("no validation" in str(each.message) for each in said) == 1
    assert trainer.global_step == 20


def test_main(block, data):
    """S283: four validations an epoch, `val_accuracy` of each on record."""
    trainer = block.main(*data, epochs=1)
    events = EventAccumulator(trainer.logger.log_dir)
    events.Reload()
    seen = [event.step for event in events.Scalars("val_accuracy")]
    assert len(seen) == 4
    assert seen == sorted(set(seen))


def test_experiment(block, data, tmp_path):
    """S284: three seeds, two activations: six versions, none of which knows of the others."""
    few = [torch.utils.data.Subset(part, range(160)) for part in data]
    accuracies = [float(t.callback_metrics["val_accuracy"]) for t in block.experiment(*few)]
    versions = {path.name for path in (tmp_path / "lightning_logs").iterdir()}
    assert versions == {f"version_{n}" for n in range(6)}
    assert len(set(accuracies)) > 1
    again = next(block.experiment(*few))
    assert float(again.callback_metrics["val_accuracy"]) == accuracies[0]


def test_one_gpu(block, data):
    """S285: `gpus=[0]` trains on the first GPU; where there is none, an error says so."""
    from engine import MisconfigurationException

    if torch.cuda.is_available():
        trainer = block.main(*data, epochs=1, gpus=[0])
        assert trainer.lightning_module.device == torch.device("cuda", 0)
        return
    with pytest.raises(MisconfigurationException, match="GPU"):
        block.main(*data, gpus=[0])
