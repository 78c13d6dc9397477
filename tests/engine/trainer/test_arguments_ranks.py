"""Arguments of the Trainer whose meaning shows only where there are several ranks."""

from __future__ import annotations

PROGRAM = """
import json, os, sys
import torch
from torch.utils.data import DataLoader, DistributedSampler
from tests.engine.support.toy import Toy, loader, quiet, samples

rank, facts = int(os.environ["RANK"]), {}

class Watch(Toy):
    def __init__(self):
        super().__init__()
        self.validated = []

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch[2].tolist())

def ran(train, **options):
    model = Watch()
    trainer = quiet(os.getcwd(), **options)
    trainer.fit(model, train, loader(22))
    return model, trainer

model, _ = ran(loader(shuffle=True), overfit_batches=2, max_epochs=2, val_check_interval=1)
facts["overfit"] = [model.seen, model.validated]
mine = DistributedSampler(samples(), 2, rank, shuffle=False)
model, trainer = ran(DataLoader(samples(), 4, sampler=mine))
facts["kept"] = [model.seen, trainer.train_dataloader.sampler is mine]
facts["shuffled"] = [ran(loader(shuffle=True), max_epochs=2)[0].seen]
facts["whole"] = ran(loader(), replace_sampler_ddp=False)[0].seen
facts["validated"] = sum(model.validated, [])
class Spoiled(Toy):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * torch.nan if rank == 1 and batch_idx == 2 else loss
try:
    quiet(os.getcwd(), terminate_on_nan=True).fit(Spoiled(), loader())
except Exception as error:
    facts["error"] = str(error)
json.dump(facts, open(sys.argv[1], "w"))
sys.stdout.flush()
os._exit(0)  # the group is broken: the other rank has left it in the middle of a step
"""


def test_which_samples_each_rank_gets(run_ranks):
    """S141, S170, S171: every index once an epoch over all ranks, in another order each epoch,
    those of validation in the data's; a DistributedSampler of the user's is kept, and without
    replacement each rank reads all; overfitting validates on the very batches that the rank trains
    on; a loss that is no number is named with its batch and rank.
    """
    first, second = run_ranks(PROGRAM)
    for one, expected in ((first, [0, 2, 4, 6]), (second, [1, 3, 5, 7])):
        seen, validated = one["overfit"]
        assert seen == [*expected, *(n + 8 for n in expected)] * 2
        assert validated == [expected, [n + 8 for n in expected]] * 4
        assert one["whole"] == list(range(24))
        assert one["validated"] == sorted(one["validated"])
    assert first["kept"] == [list(range(0, 24, 2)), True]
    assert second["kept"] == [list(range(1, 24, 2)), True]
    (mine,), (others,) = first["shuffled"], second["shuffled"]
    for epoch in (slice(0, 12), slice(12, 24)):
        assert sorted(mine[epoch] + others[epoch]) == list(range(24))
        assert mine[epoch] != sorted(mine[epoch])
    assert mine[:12] != mine[12:]
    assert sorted(first["validated"] + second["validated"]) == list(range(22))
    assert "the loss is nan in batch 2 of epoch 0 (step 2) on rank 1" in second["error"]
