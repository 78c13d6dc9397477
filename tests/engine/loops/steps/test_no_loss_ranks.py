"""Training steps that return None on some ranks only, or on all: real processes."""

from __future__ import annotations

import pytest

PROGRAM = """
import json, os, sys
import torch
from torch.utils.data import DataLoader, TensorDataset
from engine import LightningModule, Trainer

x = torch.randn(32, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
rank = int(os.environ["RANK"])


class Net(LightningModule):
    def __init__(self, skips, count=1):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(count))
        self.skips, self.count = skips, count
        self.double()

    def loss(self, batch, idx):
        y = batch
        for layer in self.layers:
            y = torch.tanh(layer(y))
        return (y * (idx + 1)).square().mean() - y.mean()

    def step(self, batch, batch_idx, idx):
        return None if (rank, batch_idx, idx) in self.skips else self.loss(batch[0], idx)

    def training_step(self, batch, batch_idx):
        return self.step(batch, batch_idx, 0)

    def configure_optimizers(self):
        # Momentum and decay: a step with gradients of zero would change something.
        make = lambda layer: torch.optim.SGD(
            layer.parameters(), lr=0.3, momentum=0.9, weight_decay=0.1
        )
        made = [make(layer) for layer in self.layers]
        return made if self.count > 1 else made[0]


class Two(Net):
    def training_step(self, batch, batch_idx, optimizer_idx):
        return self.step(batch, batch_idx, optimizer_idx)


def by_hand(net, window):
    optimizers = net.configure_optimizers()
    optimizers = optimizers if net.count > 1 else [optimizers]
    steps = 0
    for first in range(0, 4, window):
        found = [[] for _ in optimizers]
        stepped = False
        for batch in range(first, first + window):
            for idx, optimizer in enumerate(optimizers):
                for r in (0, 1):
                    if (r, batch, idx) not in net.skips:
                        loss = net.loss(x[r::2][batch * 4 : batch * 4 + 4], idx) / (2 * window)
                        found[idx].append(torch.autograd.grad(loss, net.layers[idx].parameters()))
                if batch == first + window - 1 and found[idx]:
                    for p, *grads in zip(net.layers[idx].parameters(), *found[idx]):
                        p.grad = sum(grads)
                    optimizer.step()
                    stepped = True
        steps += stepped
    return net, steps


def flat(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def holey(holes):
    # None in the place of a batch, where `holes` has (rank, batch).
    def collate(items):
        batch = torch.stack([item[0] for item in items])
        place = (x == batch[0]).all(1).nonzero().item()
        return None if (rank, place // 8) in holes else [batch]

    return collate


cases = [
    (Net, 1, 1, [(1, 1, 0), (0, 2, 0), (1, 2, 0)]),  # one rank alone, then both
    (Net, 1, 1, [(r, b, 0) for r in (0, 1) for b in range(4)]),  # nobody, ever
    (Net, 1, 2, [(1, 1, 0), (0, 2, 0), (0, 3, 0), (1, 3, 0)]),  # the end of a window
    (Net, 1, 2, [(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 2, 0)]),
    (Two, 2, 1, [(1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 3, 1), (1, 3, 1)]),
    (Two, 2, 2, [(1, 1, 1), (0, 0, 0), (0, 1, 0), (1, 1, 0)]),
    (Two, 2, 2, [(0, 2, 1), (0, 3, 1), (1, 0, 1)]),  # another optimizer's turn averages them, too
    # What ranks have no loss for because they have no batch.
    (Net, 1, 1, [(1, 1, 0), (0, 2, 0), (1, 2, 0)], True),
    (Two, 2, 2, [(1, 1, 0), (1, 1, 1), (0, 2, 0), (0, 2, 1)], True),
]
results = []
for kind, count, window, skips, *by_loader in cases:
    net = kind(set() if by_loader else set(skips), count)
    collate = holey({(r, b) for r, b, _ in skips}) if by_loader else None
    trainer = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", precision=64,
        accumulate_grad_batches=window,
    )
    trainer.fit(net, DataLoader(TensorDataset(x), batch_size=4, collate_fn=collate))
    expected, steps = by_hand(kind(set(skips), count), window)
    error = (flat(net) - flat(expected)).abs().max().item()
    results.append([error, trainer.global_step, steps, flat(net).tolist()])
json.dump(results, open(sys.argv[1], "w"))
"""


@pytest.mark.filterwarnings("ignore")
def test_a_rank_without_a_loss_holds_nobody_up(run_ranks):
    """S020: None on one rank alone counts as a gradient of zero there, None on all of them is no
    step at all; at any place of a window, with several optimizers, on equal weights everywhere.
    A batch that its loader gave as None counts likewise. How many there were is said at the end."""
    zero, one = run_ranks(PROGRAM, 2)
    (_, said), (_, other) = run_ranks.output
    assert "returned None 3 times in this fit (on the ranks from 0 on: [1, 2])" in said
    assert "times in this fit" not in other
    for (error, steps, expected, weights), (*_, others) in zip(zero, one, strict=True):
        assert error < 1e-12
        assert steps == expected
        assert weights == others
    assert [steps for _, steps, _, _ in zero] == [3, 0, 2, 2, 4, 2, 2, 3, 2]


SHARDED = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import torch
from engine import Trainer
from engine.strategies import no_loss
from tests.engine.support.toy import Toy, loader

no_loss.PATIENCE_S = 3.0
rank, seen, error = int(os.environ["RANK"]), [], ""


class Skips(Toy):
    def training_step(self, batch, batch_idx):
        seen.append(self.global_step)
        loss = self.loss(batch)
        together, alone = batch_idx == 1, batch_idx == 2 and rank == 1
        return None if together or alone else loss

trainer = Trainer(
    max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, accelerator="cpu", strategy="fsdp",
)
try:
    trainer.fit(Skips(), loader())
except RuntimeError as failure:
    error = str(failure)
json.dump([seen, error], open(sys.argv[1], "w"))
os._exit(0)
"""


def test_where_a_rank_cannot_be_without_a_loss_it_is_named(run_ranks):
    """S020: sharded ranks skip a batch together; one that does it alone says so in seconds."""
    (zero, _), (one, error) = run_ranks(SHARDED)
    assert zero == one == [0, 1, 1]
    assert "None on rank 1 and not on all others" in error
