"""Sets with fewer samples than ranks, or a few too many for a round: each sample counts once."""

from __future__ import annotations

import pytest

PROGRAM = """
import json, os, sys, warnings
import torch
from torch.utils.data import DataLoader, Subset
from tests.engine.support.toy import Toy, quiet, samples

warnings.simplefilter("ignore")
torch.set_num_threads(1)
has_metrics = os.environ["WORLD_SIZE"] == "2"  # they take seconds to import
if has_metrics:
    import torchmetrics


class Tiny(Toy):
    def __init__(self):
        super().__init__()
        if has_metrics:
            self.mean = torchmetrics.MeanMetric()
        self.synced = []

    def training_step(self, batch, batch_idx):
        value = batch[2].float().mean()
        self.log("mean", value, on_step=False, on_epoch=True)
        self.log("sum", value, on_step=False, on_epoch=True, reduce_fx="sum")
        self.log("median", value, on_step=False, on_epoch=True, reduce_fx=torch.median)
        self.log("synced", value, on_step=True, on_epoch=True, sync_dist=True)
        self.log("op_sum", value, sync_dist=True, sync_dist_op="sum")
        self.log("op_max", value, sync_dist=True, sync_dist_op="max")
        if has_metrics:
            self.mean(batch[2].float())
            self.log("metric", self.mean, on_step=False, on_epoch=True)
        return self.loss(batch)

    def on_train_batch_end(self, *_):
        self.log("hook", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")
        metrics = self.trainer.callback_metrics
        self.synced.append([float(metrics[n]) for n in ("synced_step", "op_sum", "op_max")])

    def validation_step(self, batch, batch_idx):
        self.log("val", batch[2].float().mean())
        self.log("count", float(len(batch[2])), reduce_fx="sum")
        self.log("total", batch[2].float().sum(), reduce_fx="sum")

    def test_step(self, batch, batch_idx):
        self.validation_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


found = {}
for count, size in ((1, 1), (3, 1), (3, 4), (5, 1), (7, 2), (9, 2)):
    loader = lambda: DataLoader(Subset(samples(), range(count)), batch_size=size)
    model = Tiny()
    trainer = quiet(".", max_epochs=2)
    trainer.fit(model, loader(), loader())
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    tested = trainer.test(model, loader(), verbose=False)[0]
    predicted = [i for batch in trainer.predict(model, loader()) for i in batch.tolist()]
    overfits = quiet(".", overfit_batches=1.0)
    overfits.fit(Tiny(), loader())
    overfitted = {n: float(overfits.callback_metrics[n]) for n in ("mean", "val", "count", "total")}
    found[f"{count} in {size}"] = dict(metrics=metrics, tested=tested, predicted=predicted,
                                       synced=model.synced, overfitted=overfitted)
json.dump(found, open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_sample_that_is_repeated_counts_once(run_ranks, ranks):
    """1 sample on 2 ranks, 3 on 4 and so on: means, sums and metrics of an epoch, values of a step
    over the ranks, test, prediction, and the validation of `overfit_batches`.
    """
    results = run_ranks(PROGRAM, ranks=ranks)
    assert ("metric" in results[0]["1 in 1"]["metrics"]) == (ranks == 2)
    for one in results:
        for name, found in one.items():
            count, size = (int(word) for word in name.split(" in "))
            mean, total = (count - 1) / 2, sum(range(count))
            metrics = found["metrics"]
            for key in ("mean", "metric", "synced_epoch", "val"):
                assert metrics.get(key, mean) == pytest.approx(mean), (name, key)
            if size == 1:
                assert metrics["sum"] == total and metrics["median"] == int(mean)
                assert metrics["hook"] == count
                assert found["synced"][-1][0] == pytest.approx(
                    sum(last := [*range(count)][-((count - 1) % ranks + 1) :]) / len(last)
                )
                assert found["synced"][-1][1:] == [sum(last), max(last)], name
            assert found["tested"] == {"val": pytest.approx(mean), "count": count, "total": total}
            assert found["predicted"] == [*range(count)]
            once = {"mean": pytest.approx(mean), "val": pytest.approx(mean), "count": count}
            assert found["overfitted"] == {**once, "total": total}
