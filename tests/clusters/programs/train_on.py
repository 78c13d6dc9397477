"""Trains in plain PyTorch on every rank until somebody ends it, with a DataLoader worker each.

Every rank says ``rank R is process P`` once it has trained a first step with the others, and rank 0
says ``epoch N`` after each epoch.
"""

import itertools
import os
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main() -> None:
    torch.manual_seed(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    features = torch.randn(128, 4)
    dataset = TensorDataset(features, features.sum(dim=1, keepdim=True))
    sampler = DistributedSampler(dataset)
    loader = DataLoader(
        dataset, batch_size=4, sampler=sampler, num_workers=1, persistent_workers=True
    )
    model = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in itertools.count(1):
        sampler.set_epoch(epoch)
        for features, targets in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(features), targets).backward()
            optimizer.step()
            time.sleep(0.02)  # it need not be quick, and others want the processor too
        if epoch == 1:
            print(f"rank {rank} is process {os.getpid()}", flush=True)
        if rank == 0:
            print(f"epoch {epoch}", flush=True)


if __name__ == "__main__":
    main()
