"""A training step beside a plain loop, in one process and in turns.

    steps.py engine|lightning bare|logged BLOCKS STEPS

The data loader of one fit does the alternating: each time it has handed out STEPS batches it runs
STEPS steps of the plain loop itself. What passes between its first and its last batch of a block
is the engine's time for STEPS steps (also when the engine fetches batches ahead).

Both begin with the same weights and see the same batches, so both must end with the same weights,
to the last bit.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from mark import mark
from tiny import batches, csv_logger, engine_named, module_class, network, optimizer
from torch.nn import functional

name, mode, num_blocks, num_steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


class Turns:
    """The loader."""

    def __init__(self) -> None:
        self.batches = batches(num_steps)
        self.model = network()
        self.optimizer = optimizer(self.model)
        self.plain: list[float] = []
        self.engine: list[float] = []

    def __len__(self) -> int:
        return num_blocks * num_steps

    def __iter__(self) -> Iterator[Any]:
        for _ in range(num_blocks):
            start = time.perf_counter()
            self.plain_block()
            self.plain.append((time.perf_counter() - start) / num_steps)
            start = time.perf_counter()
            yield from self.batches
            self.engine.append((time.perf_counter() - start) / num_steps)

    def plain_block(self) -> None:
        """The loop as the tutorials have it."""
        model, optimizer = self.model, self.optimizer
        for x, y in self.batches:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()


def main() -> None:
    """One fit; leaves the times of all blocks but the first, which warms up."""
    torch.set_num_threads(1)
    pl = engine_named(name)
    logs = mode == "logged"
    turns = Turns()
    with tempfile.TemporaryDirectory() as folder:
        off = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        settings = {"logger": csv_logger(name, folder)} if logs else off
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=1, default_root_dir=folder, **settings
        )
        module = module_class(pl.LightningModule, logs=logs)()
        module.network.load_state_dict(turns.model.state_dict())
        trainer.fit(module, turns)
    # An engine that knows the loader's length need not ask for a batch after the last one.
    assert len(turns.engine) >= num_blocks - 1, "the fit ended early"
    for plain, trained in zip(turns.model.parameters(), module.parameters(), strict=True):
        assert torch.equal(plain, trained), "the two loops did not do the same work"
    mark("timed", plain=turns.plain[1:], engine=turns.engine[1:])


main()
