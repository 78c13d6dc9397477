"""Metrics by the names of 1.x."""

import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics
import torch

from engine import metrics
from engine.metrics import functional as FM
from tests.engine.support.toy import Toy, loader, quiet


@pytest.fixture
def scores() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(200, 5, generator=generator)
    return logits, torch.randint(0, 5, (200,), generator=generator)


def test_accuracy_of_logits(scores):
    """S006: FM.accuracy(logits, target) is what scikit-learn says, and so it is of classes."""
    logits, target = scores
    expected = sklearn.metrics.accuracy_score(target, logits.argmax(1))

    assert float(FM.accuracy(logits, target)) == pytest.approx(expected, abs=1e-6)
    assert float(FM.accuracy(logits.softmax(1), target)) == pytest.approx(expected, abs=1e-6)
    assert float(FM.accuracy(logits.argmax(1), target)) == pytest.approx(expected, abs=1e-6)
    assert float(FM.accuracy(logits, target, num_classes=5)) == pytest.approx(expected, abs=1e-6)


def test_accuracy_of_pixels_top_k_and_two_classes(scores):
    """S006: further dimensions, the best k, and scores of one class."""
    logits, target = scores
    pixels, classes = logits.view(8, 5, 5, 5), target[:200].view(8, 5, 5)
    expected = sklearn.metrics.accuracy_score(classes.flatten(), pixels.argmax(1).flatten())
    assert float(FM.accuracy(pixels, classes)) == pytest.approx(expected, abs=1e-6)

    top = sklearn.metrics.top_k_accuracy_score(target, logits.double().numpy(), k=2)
    assert float(FM.accuracy(logits, target, top_k=2)) == pytest.approx(top, abs=1e-6)

    binary = (target > 2).long()
    share = np.mean((logits[:, 0].numpy() >= 0) == binary.numpy())
    assert float(FM.accuracy(logits[:, 0], binary)) == pytest.approx(share, abs=1e-6)
    assert float(FM.accuracy(logits[:, 0].sigmoid(), binary)) == pytest.approx(share, abs=1e-6)


def test_what_does_not_fit_is_said(scores):
    """Shapes that can't be compared, and averages that this function doesn't know, are errors."""
    logits, target = scores
    with pytest.raises(ValueError, match=r"\(200, 5\) do not fit the target \(7,\)|do not fit"):
        FM.accuracy(logits[:, 0], target[:7])
    with pytest.raises(TypeError, match="torchmetrics"):
        FM.accuracy(logits, target, average="macro")


def test_the_other_functions_of_1_x_take_no_task(scores):
    """C7: names and arguments of 1.x; the task is read off the arguments, averages are micro."""
    logits, target = scores
    predicted = logits.argmax(1)

    f1 = sklearn.metrics.f1_score(target, predicted, average="micro")
    assert float(FM.f1(logits, target, num_classes=5)) == pytest.approx(f1, abs=1e-6)
    assert float(FM.fbeta(logits, target, 0.5)) == pytest.approx(f1, abs=1e-6)
    macro = sklearn.metrics.recall_score(target, predicted, average="macro")
    given = FM.recall(predicted, target, average="macro", num_classes=5)
    assert float(given) == pytest.approx(macro, abs=1e-6)
    table = sklearn.metrics.confusion_matrix(target, predicted)
    assert FM.confusion_matrix(predicted, target, 5).tolist() == table.tolist()
    assert float(FM.mean_squared_error(torch.ones(3), torch.zeros(3))) == 1.0
    with pytest.raises(AttributeError, match="accurracy"):
        _ = FM.accurracy


def test_classes_of_1_x_are_made_without_a_task(scores):
    """C7: Accuracy() and F1(num_classes=...) as in 1.x, over several batches."""
    logits, target = scores
    for metric in (metrics.Accuracy(), metrics.F1(num_classes=5)):
        metric(logits[:120], target[:120])
        metric.update(logits[120:], target[120:])
        expected = sklearn.metrics.accuracy_score(target, logits.argmax(1))
        assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)


def test_a_metric_is_logged(tmp_path):
    """A metric object in self.log is reduced over the whole epoch."""

    class Measured(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.acc = metrics.Accuracy()

        def validation_step(self, batch, batch_idx):
            self.acc(self(batch[0]), batch[1])
            self.log("acc", self.acc)

    trainer, model, data = quiet(tmp_path), Measured(), loader(10, 4)
    (result,) = trainer.validate(model, data, verbose=False)
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y, _ in data)

    assert result["acc"] == pytest.approx(right / 10)


def test_without_torchmetrics():
    """Accuracy as a function needs nothing; the rest says what to install."""
    code = (
        "import sys, torch; sys.modules['torchmetrics'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torchmetrics' else find(name, *a)\n"
        "from engine.metrics import functional as FM; import engine.metrics as m\n"
        "assert FM.accuracy(torch.tensor([1, 0]), torch.tensor([1, 1])) == 0.5\n"
        "for owner, name in ((FM, 'f1'), (m, 'Accuracy'), (m, 'F1')):\n"
        "    try: getattr(owner, name)\n"
        "    except AttributeError as error: assert 'pip install torchmetrics' in str(error)\n"
        "    else: raise SystemExit(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
