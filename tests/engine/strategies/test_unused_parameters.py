"""Parameters that a step leaves out, on several ranks: in old programs and in new ones."""

from __future__ import annotations

from typing import Any

NET = """
import json, os, sys
import torch
from torch.utils.data import DataLoader, TensorDataset

rank = int(os.environ["RANK"])


class Net(pl.LightningModule):
    def __init__(self, count=1, automatic=True):
        super().__init__()
        torch.manual_seed(3)
        self.used = torch.nn.ModuleList(torch.nn.Linear(2, 1) for _ in range(2))
        self.unused = torch.nn.Linear(2, 1)
        self.count, self.automatic_optimization = count, automatic

    def loss(self, batch):
        return self.used[0](batch[0]).pow(2).mean()

    def training_step(self, batch, batch_idx, optimizer_idx=None):
        loss = self.loss(batch)
        if rank == batch_idx % 2:  # each rank leaves others out
            loss = loss + self.used[1](batch[0]).mean()
        if not self.automatic_optimization:
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()
        return loss

    def configure_optimizers(self):
        made = [torch.optim.SGD(self.parameters(), 0.1) for _ in range(self.count)]
        return made if self.count > 1 else made[0]


class Same(Net):
    def training_step(self, batch, batch_idx, optimizer_idx=None):
        return self.loss(batch)


def fit(net=None, **options):
    data = TensorDataset(torch.rand(16, 2, generator=torch.Generator().manual_seed(rank)))
    trainer = pl.Trainer(
        max_epochs=2, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0,
        weights_summary=None, replace_sampler_ddp=False, num_processes=2, **options,
    )
    net = net or Net()
    trainer.fit(net, DataLoader(data, batch_size=4))
    return sum(p.double().sum().item() for p in net.parameters())
"""

OLD = f"""
import engine.compat
engine.compat.install("pytorch_lightning")
import pytorch_lightning as pl
from pytorch_lightning.plugins import DDPPlugin, DDPSpawnPlugin
{NET}
sums = [
    fit(accelerator="ddp"),
    fit(accelerator="ddp", num_sanity_val_steps=0, accumulate_grad_batches=2),
    fit(plugins=DDPPlugin()),
    fit(strategy=DDPSpawnPlugin(gradient_as_bucket_view=True)),
    fit(strategy=DDPPlugin(find_unused_parameters=True)),
    fit(Net(count=2), strategy="ddp"),
    fit(Net(automatic=False), strategy="ddp"),
]
said = ""
try:  # said by the program: that counts
    fit(Same(), strategy=DDPPlugin(find_unused_parameters=False))
except pl.utilities.exceptions.MisconfigurationException as error:
    said = str(error)
json.dump([sums, said], open(sys.argv[1], "w"))
"""

NEW = f"""
import engine as pl
from engine.strategies import DDPStrategy
{NET}
said = []
for options in (
    dict(strategy="ddp"),
    dict(max_steps=1),
    dict(fast_dev_run=True),
    dict(strategy=DDPStrategy(bucket_cap_mb=1)),
):
    try:
        fit(Same(), **options)
    except pl.MisconfigurationException as error:
        said.append(str(error))
sums = [
    fit(strategy="ddp_find_unused_parameters_true"),
    fit(strategy=DDPStrategy(find_unused_parameters=True)),
]
json.dump([sums, said], open(sys.argv[1], "w"))
"""


def test_a_program_of_version_1_may_leave_parameters_out(run_ranks: Any) -> None:
    """DDP of 1.x looked for unused parameters unless it was told not to: by word or object, with
    several optimizers and in manual optimization such a program ends, on equal weights.
    """
    zero, one = run_ranks(OLD)
    assert zero[0] == one[0]
    assert len({round(value, 5) for value in zero[0][2:5]}) == 1
    assert "unused.weight" in zero[1]
    assert "unused.weight" in one[1]


def test_a_new_program_is_told_which_parameters_it_leaves_out(run_ranks: Any) -> None:
    """The error has their names and the argument to set, also where the only step is the last;
    with the argument the program ends.
    """
    zero, one = run_ranks(NEW)
    assert zero == one
    assert len(zero[1]) == 4
    for said in zero[1]:
        assert "of Same took no part in the loss: used.1.weight, used.1.bias, unused.weight" in said
        assert "strategy='ddp_find_unused_parameters_true'" in said
        assert "DDPStrategy(find_unused_parameters=True)" in said
    first, second = zero[0]
    assert first == second
