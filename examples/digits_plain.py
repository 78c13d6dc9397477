"""The training of digits.py in plain PyTorch: any torchrun program runs under plaunch as it is.

torchrun --nproc-per-node 4 examples/digits_plain.py
plaunch --nodes 2 --procs 2 examples/digits_plain.py
"""

import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset, random_split

EPOCHS, BATCH_SIZE, LR = 10, 32, 2e-3


def load_split():
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    dataset = TensorDataset(images, torch.tensor(digits.target))
    return random_split(dataset, [1257, 270, 270], torch.Generator().manual_seed(42))


def make_model():
    def block(before, after):
        convolution = nn.Conv2d(before, after, kernel_size=3, padding=1)
        return [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    head = [nn.Flatten(), nn.Linear(32 * 2 * 2, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(*block(1, 16), *block(16, 32), *head)


@torch.no_grad()
def accuracy_of(model, dataset, rank, world_size, device):
    """Every sample counts once: each rank takes every n-th one, and the counts are summed."""
    model.eval()
    mine = [dataset[index] for index in range(rank, len(dataset), world_size)]
    images = torch.stack([image for image, _ in mine]).to(device)
    labels = torch.stack([label for _, label in mine]).to(device)
    right = (model(images).argmax(dim=1) == labels).sum()
    dist.all_reduce(right)
    model.train()
    return right.item() / len(dataset)


def main():
    torch.manual_seed(1)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()

    train, val, test = load_split()
    sampler = DistributedSampler(train)
    loader = DataLoader(train, batch_size=BATCH_SIZE, sampler=sampler)
    model = DistributedDataParallel(make_model().to(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images.to(device)), labels.to(device)).backward()
            optimizer.step()
        val_acc = accuracy_of(model.module, val, rank, world_size, device)
        if rank == 0:
            print(f"epoch {epoch + 1}/{EPOCHS}  val_acc={val_acc:.3f}", flush=True)
    test_acc = accuracy_of(model.module, test, rank, world_size, device)
    if rank == 0:
        print(f"test_acc={test_acc:.3f}", flush=True)
    report({"val_acc": val_acc, "test_acc": test_acc})
    dist.destroy_process_group()


def report(value):
    """Hand the result to the launcher, where there is one."""
    try:
        from launcher import report
    except ImportError:
        return
    report(value)


if __name__ == "__main__":
    main()
