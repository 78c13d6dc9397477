"""Several ranks: they train one model, evaluate exactly, and agree. Real gloo processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEADLINE_S = 90

COMMON = """
import json, sys
import torch
from torch.utils.data import DataLoader, TensorDataset
from engine import Callback, LightningModule, Trainer, seed_everything

out = sys.argv[1]
generator = torch.Generator().manual_seed(7)
COUNT = 48
x = torch.randn(COUNT, 4, generator=generator)
data = TensorDataset(x, (x.sum(1) > 0).long(), torch.arange(COUNT))


class Net(LightningModule):
    def __init__(self, batchnorm=False):
        super().__init__()
        torch.manual_seed(3)
        layers = [torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)]
        if batchnorm:
            layers.insert(1, torch.nn.BatchNorm1d(8))
        self.net = torch.nn.Sequential(*layers)
        self.seen, self.evaluated = [], []

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        self.seen += batch[2].tolist()
        loss = self.loss(batch)
        self.log("train", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.evaluated += batch[2].tolist()
        self.log("val", self.loss(batch))
        self.log("count", float(len(batch[0])), reduce_fx="sum")
        self.log("highest", batch[2].max().float(), reduce_fx="max")

    def predict_step(self, batch, batch_idx):
        return batch[2]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)


def trainer(**options):
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False,
                 enable_model_summary=False, accelerator="cpu", default_root_dir="here")
    return Trainer(**{**quiet, **options})


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()]).tolist()


def numbers(metrics):
    return {name: float(value) for name, value in metrics.items()}


def done(**facts):
    with open(out, "w") as file:
        json.dump(facts, file)
"""

TRAINING = (
    COMMON
    + """
seed_everything(5, verbose=False)
world = int(__import__("os").environ.get("WORLD_SIZE", 1))
plain, calls = Net(), 0
t = trainer(max_epochs=2)
t.fit(plain, DataLoader(data, batch_size=12 // world, shuffle=True), DataLoader(data, batch_size=5))

windowed = Net()
reductions = []
real = torch.nn.parallel.DistributedDataParallel.no_sync
def counted(self):
    reductions.append(1)
    return real(self)
torch.nn.parallel.DistributedDataParallel.no_sync = counted
t2 = trainer(accumulate_grad_batches=3, limit_val_batches=0, max_epochs=1)
t2.fit(windowed, DataLoader(data, batch_size=12 // world), DataLoader(data))

normed = Net(batchnorm=True)
t3 = trainer(sync_batchnorm=True, max_epochs=2)
t3.fit(normed, DataLoader(data, batch_size=12 // world), DataLoader(data, batch_size=5))
done(
    plain=flat(plain), seen=plain.seen, metrics=numbers(t.callback_metrics),
    windowed=flat(windowed), windows=t2.global_step, reductions=len(reductions),
    normed=flat(normed), running=normed.net[1].running_mean.tolist(),
    variance=normed.net[1].running_var.tolist(), tracked=int(normed.net[1].num_batches_tracked),
    normed_metrics=numbers(t3.callback_metrics), kind=type(normed.net[1]).__name__,
    undone="forward" not in vars(normed.net[1]), stopped=t.global_step,
)
"""
)


def test_two_ranks_train_the_model_that_one_would(run_ranks):
    """S158, S170, S237: gradients are averaged over ranks in each step (those of a rank alone
    would differ), with accumulation, and with batch norm over the joint batch, whose layers are as
    before afterwards; each sample comes once an epoch, over all ranks.
    """
    (alone,) = run_ranks(TRAINING, ranks=1)
    first, second = run_ranks(TRAINING, ranks=2)

    for name in ("plain", "windowed", "normed", "running", "variance"):
        assert first[name] == pytest.approx(second[name], abs=1e-6), name
        assert first[name] == pytest.approx(alone[name], abs=1e-5), name
    # Each sample once an epoch, over both ranks, in one order for any number of them.
    for epoch in (0, 1):
        mine = [r["seen"][epoch * 24 : (epoch + 1) * 24] for r in (first, second)]
        together = [i for pair in zip(*mine, strict=True) for i in pair]
        assert sorted(together) == list(range(48))
        order = alone["seen"][epoch * 48 : (epoch + 1) * 48]
        assert [set(together[i : i + 12]) for i in range(0, 48, 12)] == [
            set(order[i : i + 12]) for i in range(0, 48, 12)
        ]
    assert first["metrics"] == second["metrics"]
    assert first["metrics"] == pytest.approx(alone["metrics"], rel=1e-5)
    assert first["normed_metrics"] == pytest.approx(alone["normed_metrics"], rel=1e-4)
    assert (first["windows"], first["reductions"]) == (2, 2)  # windows of 3 and 1: 2 unsynced
    assert first["tracked"] == alone["tracked"] == 8
    assert (first["kind"], first["undone"]) == ("BatchNorm1d", True)


EVALUATION = (
    COMMON
    + """
import torch.distributed as dist
from engine.runtime.distributed import world as distributed
calls = []
gather = distributed.gather_all
distributed.gather_all = lambda value: calls.append(1) or gather(value)

class Different(Net):
    def __init__(self):
        super().__init__()
        with torch.no_grad():  # as models are when nobody seeds them
            self.net[0].weight.add_(int(__import__("os").environ.get("RANK", 0)))

    def test_step(self, batch, batch_idx):
        calls.append("step")
        return self.validation_step(batch, batch_idx)

odd = torch.utils.data.Subset(data, range(23))
model = Different()
t = trainer()
tested = t.test(model, DataLoader(odd, batch_size=3), verbose=False)
mine = list(model.evaluated)
inside = calls[calls.index("step"):]
gathers_between_steps = sum(1 for c in inside[:len(inside) - inside[::-1].index("step")] if c == 1)
gathers_after = sum(1 for c in inside[len(inside) - inside[::-1].index("step"):] if c == 1)
two = DataLoader(torch.utils.data.Subset(data, range(2)), batch_size=2)
few = t.test(model, two, verbose=False)
predicted = [p.tolist() for p in t.predict(model, DataLoader(odd, batch_size=3))]
shuffled = trainer().validate(model, DataLoader(odd, batch_size=3, shuffle=True), verbose=False)
done(tested=tested, few=few, predicted=predicted, evaluated=mine,
     shuffled=shuffled[0]["count"], between=gathers_between_steps, after=gathers_after)
"""
)


def test_two_ranks_evaluate_as_one_does(run_ranks):
    """S119: 23 samples in batches of 3, and 2 samples for 2 ranks: nobody counts one twice or
    misses one, predictions come in the data's order, and ranks meet once an epoch, not in steps.
    """
    (alone,) = run_ranks(EVALUATION, ranks=1)
    first, second = run_ranks(EVALUATION, ranks=2)
    for one in (first, second):
        assert one["tested"][0] == pytest.approx(alone["tested"][0], rel=1e-6)
        assert one["few"][0] == pytest.approx(alone["few"][0], rel=1e-6)
        assert one["predicted"] == alone["predicted"]
        assert one["shuffled"] == 23.0
        assert (one["between"], one["after"]) == (0, 1)
    assert alone["tested"][0]["count"] == 23.0
    assert [i for batch in alone["predicted"] for i in batch] == list(range(23))
    assert not set(first["evaluated"]) & set(second["evaluated"])


FEW = (
    COMMON
    + """
import torchmetrics
from engine.callbacks import EarlyStopping, ModelCheckpoint

class Few(Net):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.ModuleDict({"mean": torchmetrics.MeanMetric()})

    def validation_step(self, batch, batch_idx, dataloader_idx):
        self.log("val", self.loss(batch), add_dataloader_idx=False)
        self.log("stepped", 1.0, on_step=True, sync_dist=True)
        self.log("middle", 3.0, reduce_fx=torch.median, add_dataloader_idx=False)
        self.inner["mean"](batch[2].float())
        self.log("metric", self.inner["mean"], add_dataloader_idx=False)

    def validation_epoch_end(self, outputs):
        self.log("ended", 2.0)

def at_which_steps(interval):
    stops = EarlyStopping("val", patience=99)
    best = ModelCheckpoint(f"few-{interval}", monitor="val", save_top_k=-1)
    t = trainer(max_epochs=1, val_check_interval=interval, enable_checkpointing=True,
                callbacks=[stops, best])
    one = DataLoader(torch.utils.data.Subset(data, range(2)), batch_size=2)
    t.fit(Few(), DataLoader(data, batch_size=6), [one, one])
    told = numbers(t.callback_metrics)
    assert (told["ended"], told["middle"], told["metric"]) == (2.0, 3.0, 0.5), told
    return {path[-13:]: float(score) for path, score in best.best_k_models.items()}

done(once=at_which_steps(1.0), twice=at_which_steps(0.5))
"""
)


def test_a_fit_with_fewer_validation_batches_than_ranks(run_ranks):
    """S091, S096: one batch of each loader for two ranks: both take part in the validation, and in
    what a metric or a function says of it, decide alike by it, and neither waits for the other in a
    step that it does not have.
    """
    first, second = run_ranks(FEW, ranks=2)
    assert first == second
    assert [len(first[name]) for name in ("once", "twice")] == [1, 2]


AGREEMENT = (
    COMMON
    + """
import os, random
import numpy
from engine import rank_zero_only
from engine.callbacks import EarlyStopping, ModelCheckpoint
rank = int(os.environ["RANK"])

class Mine(Net):
    def training_step(self, batch, batch_idx):
        self.log("synced", float(rank), sync_dist=True)
        self.log("summed", float(rank + 1), sync_dist=True, sync_dist_op="sum")
        both = dict(on_epoch=True, sync_dist=True, sync_dist_group=torch.distributed.group.WORLD)
        self.log("summed_twice", float(rank + 1), sync_dist_op="sum", **both)
        self.log("averaged", float(rank + 1), sync_dist_op="mean", **both)
        self.log("highest_op", float(rank + 1), sync_dist_op="max", **both)
        self.log("alone", float(rank + 1), sync_dist_op="sum", on_step=False, on_epoch=True)
        self.log("by_torch", float(rank + 1), sync_dist=True,
                 sync_dist_op=torch.distributed.ReduceOp.SUM)
        self.log("by_reduction", float(rank + 1), sync_dist=True, reduce_fx="sum")
        self.log("zero", 1.0, rank_zero_only=True, on_epoch=True)
        self.print("once")
        if self.logger:
            self.logger.experiment.add_scalar("raw", 1.0, self.global_step)
        return super().training_step(batch, batch_idx)

    def prepare_data(self):
        open(f"prepared-{rank}", "w").close()

    def setup(self, stage):
        drawn.append([torch.rand(1).item(), random.random(), numpy.random.rand()])

    def test_step(self, batch, batch_idx):
        self.log("test", self.loss(batch))

drawn = []
seed_everything(1, workers=True, verbose=False)
model = Mine()
if rank:  # what one rank alone draws
    torch.rand(5), random.random(), numpy.random.rand()
t = trainer(max_epochs=2, enable_checkpointing=True, logger=True, limit_train_batches=2,
            callbacks=ModelCheckpoint(monitor="val"), devices=1, log_every_n_steps=1)
t.fit(model, DataLoader(data, batch_size=8), DataLoader(data, batch_size=8))
best = t.checkpoint_callback.best_model_path
rank_zero_only(t.save_checkpoint)("by-hand.ckpt")
t.strategy.barrier()
Mine.load_from_checkpoint("by-hand.ckpt")
state = torch.get_rng_state().sum().item()
resumed = trainer(max_epochs=3)
resumed.fit(Mine(), DataLoader(data, batch_size=8), DataLoader(data, batch_size=8), ckpt_path=best)
error = None
try:
    trainer().fit(Mine(), DataLoader(data), ckpt_path="nowhere.ckpt")
except Exception as failure:
    error = str(failure)
seed_everything(10 + rank, verbose=False)  # a seed of its own is kept
t.test(verbose=False, dataloaders=DataLoader(data))
done(drawn=drawn, best=best, version=t.logger.version, synced=numbers(t.callback_metrics),
     test=t.test(verbose=False, dataloaders=DataLoader(data)), step=resumed.global_step,
     experiment=type(t.logger.experiment).__name__, error=error, files=sorted(os.listdir(".")),
     world=[t.world_size, t.global_rank])
"""
)


def test_ranks_agree(run_ranks, tmp_path):
    """S072, S079, S100-S102, S121, S209: on versions, checkpoints and values; data is prepared
    once, printed once and logged once; rank zero may save alone; a checkpoint that is missing fails
    on all of them.
    """
    first, second = run_ranks(AGREEMENT, ranks=2)
    assert first["best"] == second["best"]
    assert first["drawn"][:-2] == second["drawn"][:-2]
    assert first["drawn"][-2] != second["drawn"][-2]
    assert first["version"] == second["version"] == 0
    for one in (first, second):
        assert one["synced"]["synced"] == 0.5
        for summed in ("summed", "summed_twice_step", "summed_twice_epoch", "by_torch"):
            assert one["synced"][summed] == 3.0, summed
        for averaged in ("averaged_step", "averaged_epoch", "alone"):  # sync_dist was not asked for
            assert one["synced"][averaged] == 1.5, averaged
        assert one["synced"]["by_reduction"] == 3.0
        assert one["synced"]["highest_op_step"] == one["synced"]["highest_op_epoch"] == 2.0
        assert one["test"] == first["test"]
        assert "no checkpoint" in one["error"]
    assert [one["world"] for one in (first, second)] == [[2, 0], [2, 1]]
    assert [one["experiment"] for one in (first, second)] == ["SummaryWriter", "Silent"]
    assert (tmp_path / "prepared-0").exists()
    assert not (tmp_path / "prepared-1").exists()
    assert len(list(tmp_path.glob("here/lightning_logs/version_0/events*"))) >= 1
    printed = [out.count("once") for out, _ in run_ranks.output]
    assert printed[0] > 0 and printed[1] == 0
    words = "the launcher started 2 ranks on 1 node, the Trainer says 1"
    said = [err.count(words) for _, err in run_ranks.output]
    assert said == [1, 0]


SKIPPING = (
    COMMON
    + """
import os

class Skips(Net):
    def training_step(self, batch, batch_idx):
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)

models = []
for window in (1, 2):  # with 2, what is skipped is the batch that would have averaged
    model = Skips()
    t = trainer(accumulate_grad_batches=window, max_epochs=1)
    t.fit(model, DataLoader(data, batch_size=4))
    models.append((t.global_step, flat(model)))
out = f"{out}-{os.environ['RANK']}"
done(models=models, world=t.world_size)
"""
)


def test_under_torchrun_and_with_skipped_batches(tmp_path):
    """The same script under the launcher that everybody has; ranks that skip a batch together
    still hold one model.
    """
    script = tmp_path / "program.py"
    script.write_text("import warnings; warnings.simplefilter('ignore')\n" + SKIPPING)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*launcher, "--nproc-per-node", "2", str(script), str(tmp_path / "result")],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _, err = process.communicate(timeout=DEADLINE_S)
        finally:
            process.terminate()  # torchrun ends its ranks; it is gone already if all went well
    assert process.returncode == 0, err
    first, second = (json.loads((tmp_path / f"result-{r}").read_text()) for r in (0, 1))
    assert first["world"] == 2
    assert [steps for steps, _ in first["models"]] == [3, 3]
    for mine, other in zip(first["models"], second["models"], strict=True):
        assert mine[1] == pytest.approx(other[1], abs=1e-7)
