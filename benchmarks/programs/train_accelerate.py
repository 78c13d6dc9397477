"""An ordinary Accelerate script: it knows nothing of its launcher."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from mark import mark
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 5


def main() -> None:
    """Train, and say what came out."""
    set_seed(1)
    accelerator = Accelerator(cpu=True)
    y = torch.randint(0, 2, (512,))
    x = torch.randn(512, 8) + 2.0 * y[:, None]
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    for _ in range(EPOCHS):
        total = torch.zeros(())
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            total += loss.detach()
        losses.append(float(accelerator.reduce(total, "mean")) / len(loader))
    parameters = accelerator.unwrap_model(model).parameters()
    weights = [float(p.detach().double().sum()) for p in parameters]
    world_size = accelerator.num_processes
    mark("trained", world_size=world_size, losses=losses, weights=str(weights))
    accelerator.end_training()


main()
