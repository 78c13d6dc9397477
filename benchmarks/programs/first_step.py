"""Train a tiny model for two steps under DDP and say when the first one was over.

    first_step.py engine|lightning RANKS

Logger and checkpoints are off, all else is at its default.
"""

import sys
from typing import Any

from mark import mark
from tiny import batches, engine_named, module_class
from torch.utils.data import DataLoader

name, num_ranks = sys.argv[1], int(sys.argv[2])
pl = engine_named(name)


class FirstStep(module_class(pl.LightningModule, logs=False)):  # type: ignore[misc]
    """Marks the end of the first optimizer step."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Called after the step."""
        if batch_idx == 0:
            mark("stepped")


data = [(x, y) for xs, ys in batches(32) for x, y in zip(xs, ys, strict=True)]
trainer = pl.Trainer(
    accelerator="cpu",
    devices=num_ranks,
    strategy="ddp",
    max_steps=2,
    logger=False,
    enable_checkpointing=False,
)
trainer.fit(FirstStep(), DataLoader(data, batch_size=32))
