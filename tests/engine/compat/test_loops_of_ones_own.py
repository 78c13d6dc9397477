"""Loops of 1.5: one of one's own runs, and none takes the place of the Trainer's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import LightningLite, MisconfigurationException
from engine.compat.shims.loops import Loop
from engine.strategies.fsdp import FSDP
from tests.engine.support.toy import Toy, loader, quiet


class Epochs(Loop):
    """So many epochs, each by another loop."""

    def __init__(self, epochs: int, inner: Any = None) -> None:
        super().__init__()
        self.epochs, self.inner, self.count = epochs, inner, 0
        self.calls: list[str] = []

    @property
    def skip(self) -> bool:
        return self.epochs == 0

    @property
    def done(self) -> bool:
        return self.count >= self.epochs

    def reset(self) -> None:
        self.count = 0

    def on_run_start(self, word: str) -> None:
        self.calls.append(f"start {word}")

    def advance(self, word: str) -> None:
        self.calls.append(f"{word} {self.count}")
        self.count += 1
        if self.count == 7:
            raise StopIteration

    def on_advance_end(self) -> None:
        self.calls.append("end")

    def on_run_end(self) -> list[str]:
        return self.calls

    def on_save_checkpoint(self) -> dict[str, Any]:
        return {"count": self.count}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


def test_a_loop_runs_until_it_is_done() -> None:
    """Its hooks in their order, its end by `done` or StopIteration, and its state with others'."""
    assert Epochs(2).run("a") == ["start a", "a 0", "end", "a 1", "end"]
    assert Epochs(9).run("b")[-1] == "b 6" and Epochs(0).run("c") is None
    outer = Epochs(3, Epochs(2))
    with pytest.raises(MisconfigurationException, match="has no trainer"):
        _ = outer.trainer
    outer.trainer = "the trainer"
    assert outer.inner.trainer == "the trainer"
    outer.run("d")
    state = outer.state_dict()
    assert state == {"state_dict": {"count": 3}, "inner.state_dict": {"count": 0}}
    again = Epochs(3, Epochs(2))
    again.load_state_dict(state)
    assert again.count == 3 and again.restarting and again.done


def test_a_loop_in_lite_trains() -> None:
    """The model's steps are those of `advance`."""

    class Steps(Loop):
        def __init__(self, lite: Any, parts: Any) -> None:
            super().__init__()
            self.lite, self.parts, self.left = lite, parts, 0

        @property
        def done(self) -> bool:
            return False

        def reset(self) -> None:
            self.batches = iter(self.parts[2])

        def advance(self) -> None:
            model, optimizer, _ = self.parts
            x, *_ = next(self.batches)
            optimizer.zero_grad()
            self.lite.backward(model(x).square().mean())
            optimizer.step()
            self.left += 1

        def on_run_end(self) -> int:
            return self.left

    class Lite(LightningLite):
        def run(self) -> Any:
            net = torch.nn.Linear(4, 1)
            model, optimizer = self.setup(net, torch.optim.SGD(net.parameters(), 0.1))
            return Steps(self, (model, optimizer, self.setup_dataloaders(loader()))).run()

    assert Lite().run() == 6


def test_the_trainers_loop_can_be_asked_and_not_replaced(tmp_path: Path) -> None:
    """Its numbers by the names of 1.5 and 2.x, steps counted by hand; else a sentence."""

    class ByHand(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            epoch_loop = self.trainer.fit_loop.epoch_loop
            assert epoch_loop.batch_idx == batch_idx == epoch_loop.total_batch_idx
            assert epoch_loop.is_last_batch == (batch_idx == 5)
            progress = epoch_loop.batch_loop.manual_loop.optim_step_progress
            self.trainer.optimizers[0].step()  # raw: it is counted once all the same
            progress.increment_ready()
            progress.increment_completed()
            if batch_idx == 5:
                epoch_loop.manual_optimization.optim_step_progress.total.completed += 1

    trainer = quiet(tmp_path)
    trainer.fit(ByHand(), loader(), loader())
    loop = trainer.fit_loop.epoch_loop
    assert trainer.global_step == loop.global_step == loop._batches_that_stepped == 7
    loop.max_steps = 9
    assert (trainer.max_steps, loop.max_steps, loop.min_steps) == (9, 9, None)
    with pytest.raises(MisconfigurationException, match=r"fit_loop = Epochs.*several times"):
        trainer.fit_loop = Epochs(2)


def test_lite_does_not_shard() -> None:
    """The optimizers would be made too early: it says what does."""
    with pytest.raises(MisconfigurationException, match="fully_shard"):
        FSDP(torch.device("cpu"), quiet(".").strategy.world).around(torch.nn.Linear(1, 1))
