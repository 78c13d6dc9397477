"""Exact evaluation with odd numbers of batches: every strategy of several ranks, against one."""

from __future__ import annotations

import json
import sys

import pytest

from engine.strategies.declared.requested import WORDS
from tests.engine.strategies.test_ranks import COMMON

STRATEGIES = ("ddp", "fsdp")

PROGRAM = (
    COMMON
    + """
import os
from torch.utils.data import Subset, default_collate
world = int(os.environ.get("WORLD_SIZE", 1))


class Odd(Net):
    '''Keeps what it sees in every way that a program might.'''

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.net = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
        self.kept, self.by_name, self.calls = [], {"indices": []}, 0
        self.register_buffer("total", torch.zeros(()))

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.calls += 1
        self.total += batch[2].sum()
        self.kept.append(torch.rand(()))
        self.by_name["indices"] += batch[2].tolist()
        self.log("val", self.loss(batch))
        self.log("count", float(len(batch[0])), reduce_fx="sum")
        self.log("highest", batch[2].max().float(), reduce_fx="max")

    def on_validation_epoch_end(self):
        self.log("total", self.trainer.strategy.all_gather(self.total).sum())
        self.total.zero_()

    def on_test_epoch_end(self):
        self.on_validation_epoch_end()

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        self.calls += 1
        return batch[2], self.net(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def odd(count, size, **options):
    return DataLoader(Subset(data, range(count)), batch_size=size, **options)


def without_second(items):
    batch = default_collate(items)
    return None if int(batch[2][0]) == 2 else batch


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([data[i] for i in range(9)])


def evaluated(strategy):
    found = {}
    for name, loaders in {
        "13 batches": odd(25, 2),
        "one batch": odd(3, 4),
        "several": [odd(5, 2), odd(1, 1), odd(4, 2)],
        "a stream": DataLoader(Stream(), batch_size=2),
        "one is none": odd(6, 2, collate_fn=without_second),
    }.items():
        model = Odd()
        t = trainer(**strategy)
        tested = t.test(model, loaders, verbose=False)
        seen = [model.calls, len(model.kept), sorted(model.by_name["indices"])]
        validated = t.validate(model, loaders, verbose=False)
        predicted = [] if "none" in name else t.predict(model, loaders)
        predicted = predicted if name == "several" else [predicted]
        predicted = [[i.tolist(), y.flatten().tolist()] for one in predicted for i, y in one]
        found[name] = dict(tested=tested, validated=validated, predicted=predicted, seen=seen)
    model = Odd()
    t = trainer(max_epochs=2, val_check_interval=0.5, num_sanity_val_steps=0, **strategy)
    t.fit(model, DataLoader(data, batch_size=8 // world), odd(25, 2))
    fitted, seen = numbers(t.callback_metrics), [model.calls, len(model.kept)]
    return dict(found=found, fitted=fitted, seen=seen, steps=t.global_step)


strategies = os.environ.get("STRATEGIES", "").split()
done(**{name: evaluated({"strategy": name}) for name in strategies} or {"alone": evaluated({})})
"""
)


@pytest.mark.filterwarnings("ignore:the (validation|test) loader gave None")
def test_evaluation_is_exact(run_ranks, monkeypatch, tmp_path):
    """validate, test, predict and the validation of a fit: with odd numbers of batches, with fewer
    than ranks, with several loaders, a stream and a batch that is none, metrics are those of one
    rank, and a rank that has run out keeps nothing of the steps that it only takes part in.
    """
    assert {kind for kind, *_ in WORDS.values()} == {"auto", "single", *STRATEGIES}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "alone.json"])
    exec(PROGRAM, {"__name__": "program"})
    alone = json.loads((tmp_path / "alone.json").read_text())["alone"]

    ranks = run_ranks(PROGRAM, ranks=2, env={"STRATEGIES": " ".join(STRATEGIES)})
    for strategy in STRATEGIES:
        both = [one[strategy] for one in ranks]
        for name, right in alone["found"].items():
            mine = [one["found"][name] for one in both]
            for one in mine:
                for verb in ("tested", "validated"):
                    for got, expected in zip(one[verb], right[verb], strict=True):
                        assert got == pytest.approx(expected, rel=1e-5), (strategy, name, verb)
                for (i, got), (place, expected) in zip(
                    one["predicted"], right["predicted"], strict=True
                ):
                    assert i == place and got == pytest.approx(expected, abs=1e-6)
            calls, kept, indices = zip(*(one["seen"] for one in mine), strict=True)
            together = [sum(calls), sum(kept), sorted(indices[0] + indices[1])]
            assert together == right["seen"], (strategy, name)
        for one in both:
            assert one["fitted"] == pytest.approx(alone["fitted"], rel=1e-4), strategy
        seen = [sum(each) for each in zip(*(one["seen"] for one in both), strict=True)]
        assert seen == alone["seen"] and both[0]["steps"] == alone["steps"] == 12
