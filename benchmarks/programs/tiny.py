"""The tiny model of the benchmarks, for whichever engine: an MLP 32-32-2 on batches of 32."""

import importlib
from typing import Any

import torch
from torch import nn
from torch.nn import functional

NAMES = {"engine": "engine", "lightning": "lightning.pytorch"}


def engine_named(name: str) -> Any:
    """The package that has Trainer and LightningModule."""
    return importlib.import_module(NAMES[name])


def csv_logger(name: str, folder: str) -> Any:
    """Its CSV logger."""
    return importlib.import_module(NAMES[name] + ".loggers").CSVLogger(folder)


def network() -> nn.Module:
    """The model itself."""
    return nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Its optimizer."""
    return torch.optim.SGD(model.parameters(), lr=0.01)


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches that are there already, so that only the loop is measured."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 32, 32, generator=generator)
    return [(x, (x.sum(1) > 0).long()) for x in inputs]


def module_class(base: type, *, logs: bool) -> type:
    """The model as a LightningModule; with ``logs`` it logs its loss each step."""

    class Tiny(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            x, y = batch
            loss = functional.cross_entropy(self.network(x), y)
            if logs:
                self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer(self.network)

    return Tiny
