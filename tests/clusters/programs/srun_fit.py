"""A script for `srun python srun_fit.py FOLDER`, one task a rank, or for a batch script alone."""

import json
import os
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from engine import LightningModule, Trainer

data = TensorDataset(torch.arange(16, dtype=torch.float32)[:, None])


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen += batch[0].flatten().int().tolist()
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.001)


trainer = Trainer(
    accelerator="ddp_cpu",
    num_processes=2,
    num_nodes=int(os.environ.get("SLURM_NNODES", 1)) if "SLURM_STEP_ID" in os.environ else 1,
    max_epochs=1,
    default_root_dir=sys.argv[1],
    enable_progress_bar=False,
    enable_model_summary=False,
)
model = Net()
trainer.fit(model, DataLoader(data, batch_size=2))
found = {
    "rank": trainer.global_rank,
    "local_rank": trainer.local_rank,
    "world_size": trainer.world_size,
    "node": os.environ["SLURMD_NODENAME"],
    "variables": [os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")],
    "seen": model.seen,
    "weight": model.net.weight.item(),
}
Path(sys.argv[1], f"rank-{trainer.global_rank}.json").write_text(json.dumps(found))
