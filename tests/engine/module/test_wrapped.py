"""engine.wrap: an ordinary module trains without a class of its own."""

from __future__ import annotations

import pytest
import torch
import torchmetrics

import engine
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import quiet, samples


def net():
    torch.manual_seed(1)
    return torch.nn.Linear(4, 2)


def pairs(count=24, size=4):
    data = [(x, y) for x, y, _ in samples(count)]
    return torch.utils.data.DataLoader(data, batch_size=size)


def test_one_line_makes_a_module(tmp_path):
    """S250, S246: a plain nn.Module, a loss and an optimizer by name train, validate, test and
    predict; torchmetrics and functions are logged; the weights are those of a plain loop."""
    plain, given = net(), net()
    metrics = {
        "acc": torchmetrics.Accuracy(task="multiclass", num_classes=2),
        "positive": lambda output, target: (output > 0).float().mean(),
    }
    model = engine.wrap(given, "cross_entropy", "SGD", lr=0.5, metrics=metrics)
    trainer = quiet(tmp_path, max_epochs=2)
    trainer.fit(model, pairs(), pairs())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.5)
    for _ in range(2):
        for x, y in pairs():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(plain(x), y).backward()
            optimizer.step()
    assert torch.equal(plain.weight, given.weight)
    x, y = (torch.stack(column) for column in zip(*pairs().dataset, strict=True))
    right = float((plain(x).argmax(1) == y).float().mean())
    assert float(trainer.callback_metrics["val_acc"]) == pytest.approx(right)
    tested = trainer.test(model, pairs(), verbose=False)[0]
    assert tested["test_acc"] == pytest.approx(right)
    assert {"test_loss", "test_positive"} <= set(tested)
    predicted = trainer.predict(model, pairs())
    assert torch.equal(torch.cat(predicted), plain(x))
    assert isinstance(model, engine.LightningModule) and model.hparams.lr == 0.5


class OwnLoss(torch.nn.Module):
    """Takes a batch by name and returns its loss, as models of transformers do."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_other_forms(tmp_path):
    """S250: a batch of names and a model with a loss of its own; an optimizer by class, by
    function or ready made, a scheduler; and what does not fit is explained."""
    data = [{"x": x, "labels": y} for x, y, _ in samples(8)]
    model = engine.wrap(
        OwnLoss(),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.2),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
    )
    trainer = quiet(tmp_path)
    by_name = torch.utils.data.DataLoader(data, batch_size=4)
    trainer.fit(model, by_name, by_name)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.02)
    by_class = engine.wrap(net(), torch.nn.CrossEntropyLoss, torch.optim.AdamW, lr=0.3)
    assert by_class.configure_optimizers().defaults["lr"] == 0.3
    given = net()
    ready = torch.optim.SGD(given.parameters(), lr=0.3)
    wrapped = engine.wrap(given, torch.nn.CrossEntropyLoss(), ready)
    before = given.weight.clone()
    trainer = quiet(tmp_path)
    trainer.fit(wrapped, pairs(), pairs())
    assert trainer.optimizers == [ready] and wrapped.hparams.lr == wrapped.lr == 0.3
    assert not torch.equal(before, given.weight)
    wrapped.lr = 0.1  # as a learning rate finder does
    assert wrapped.configure_optimizers().param_groups[0]["lr"] == 0.1
    with pytest.raises(MisconfigurationException, match="none of this Linear"):
        engine.wrap(net(), "mse_loss", ready)
    with pytest.raises(MisconfigurationException, match="no such function"):
        engine.wrap(net(), "cross_entropi")
    with pytest.raises(MisconfigurationException, match="no such optimizer"):
        engine.wrap(net(), "mse_loss", "adam")
    with pytest.raises(MisconfigurationException, match="a name, a class or a function"):
        engine.wrap(net(), "mse_loss", 3)
    with pytest.raises(MisconfigurationException, match="no `loss` of its own"):
        quiet(tmp_path).fit(engine.wrap(net()), pairs(), pairs())
