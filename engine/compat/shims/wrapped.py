"""What a strategy puts around a module."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.parallel import DataParallel, DistributedDataParallel

LightningDataParallel = DataParallel
LightningDistributedDataParallel = DistributedDataParallel


class LightningDistributedModule(torch.nn.Module):
    """A module around a LightningModule, whose `forward` is the step that runs."""

    def __init__(self, pl_module: Any = None, forward_module: Any = None, **_: Any) -> None:
        super().__init__()
        self.module = pl_module if pl_module is not None else forward_module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The training step."""
        return self.module.training_step(*args, **kwargs)


LightningParallelModule = LightningDistributedModule


def unwrap_lightning_module(wrapped: Any) -> Any:
    """The LightningModule inside."""
    from engine.module.module import LightningModule

    while not isinstance(wrapped, LightningModule) and hasattr(wrapped, "module"):
        wrapped = wrapped.module
    return wrapped
