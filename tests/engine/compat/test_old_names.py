"""Names of 1.x that programs call or read, beside the ones of today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import Callback
from engine.loggers import TensorBoardLogger
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet

# What a module calls otherwise than a callback, or has no hook for.
_OF_CALLBACKS = {
    "on_init_start",
    "on_init_end",
    "on_before_accelerator_backend_setup",
    "on_configure_sharded_model",
    "on_sanity_check_start",
    "on_sanity_check_end",
    "on_exception",
    "on_keyboard_interrupt",
    "on_batch_start",
    "on_batch_end",
    "on_save_checkpoint",  # no checkpoint is written here
    "on_load_checkpoint",
}


def test_an_override_may_call_the_hook_that_it_overrides(tmp_path) -> None:
    """S067: `super()` has every hook of a module, so overrides can be stacked."""
    names = {name for name in vars(Callback) if name.startswith("on_")} - _OF_CALLBACKS
    called: list[str] = []

    def stacked(name):
        def hook(self, *args, **kwargs):
            called.append(name)
            return getattr(super(Stacked, self), name)(*args, **kwargs)

        return hook

    Stacked = type("Stacked", (Toy,), {name: stacked(name) for name in sorted(names)})
    trainer = quiet(tmp_path, max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(Stacked(), loader(), loader(8))
    trainer.test(dataloaders=loader(8))
    trainer.predict(dataloaders=loader(8))

    assert set(called) == names


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:The TorchScript type")
def test_a_module_is_written_as_torchscript(tmp_path) -> None:
    """Scripted or traced, in a run or before one: in eval mode, and the module stays as it is."""
    module = Toy(dropout=0.5)
    x = torch.ones(3, 4)
    module.eval()
    wanted = module(x)
    module.train()

    script = module.to_torchscript(tmp_path / "module.pt")
    with pytest.raises(MisconfigurationException, match="example_input_array"):
        module.to_torchscript(method="trace")
    module.example_input_array = torch.zeros(1, 4)
    traced = module.to_torchscript(method="trace")
    scripts = script(x), traced(x)
    quiet(tmp_path, fast_dev_run=True).fit(module, loader(8), loader(8))
    module.to_torchscript()

    assert module.training
    assert torch.equal(scripts[0], wanted)
    assert torch.equal(scripts[1], wanted)
    assert torch.equal(torch.jit.load(tmp_path / "module.pt")(x), wanted)


def test_a_module_is_written_as_onnx(monkeypatch) -> None:
    """In eval mode, along its example input; other arguments go to torch."""
    seen: list[Any] = []
    monkeypatch.setattr(
        torch.onnx, "export", lambda m, x, file, **more: seen.append((m.training, x, file, more))
    )
    module = Toy()
    module.example_input_array = torch.zeros(1, 4)

    module.to_onnx("file", opset_version=18)
    module.to_onnx("other", torch.ones(2, 4))

    assert seen[0] == (False, (module.example_input_array,), "file", {"opset_version": 18})
    assert seen[1][2] == "other"
    assert module.training


def test_all_gather_alone_gives_what_it_got() -> None:
    """One process: tensors as they are, numbers as tensors."""
    data = {"a": torch.ones(2), "b": [1.5]}

    gathered = Toy().all_gather(data)

    assert gathered["a"] is data["a"]
    assert torch.equal(gathered["b"][0], torch.tensor(1.5))


GATHERS = """
import json, sys, torch
from tests.engine.support.toy import Toy, loader, quiet

class Gathers(Toy):
    def training_step(self, batch, batch_idx):
        mine = self.net[0].weight.sum() * (self.global_rank + 1)
        both = self.all_gather({"x": mine}, sync_grads=True)["x"]
        self.told = self.all_gather([self.global_rank])[0].tolist()
        self.plain = self.all_gather(mine).requires_grad
        return both[0] + 10 * both[1] + 0 * self.loss(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def on_after_backward(self):
        self.gradient = self.net[0].weight.grad[0, 0].item()

module = Gathers()
quiet(sys.argv[2], strategy="ddp", max_steps=1).fit(module, loader(8))
json.dump([module.told, module.plain, module.gradient], open(sys.argv[1], "w"))
"""


def test_all_gather_stacks_what_the_ranks_have(run_ranks, tmp_path) -> None:
    """In rank order; with `sync_grads` gradients flow back, each rank's summed over the ranks."""
    first, second = run_ranks(GATHERS.replace("sys.argv[2]", repr(str(tmp_path))))

    # Rank 0 gave w, rank 1 gave 2 w, both have the loss w + 20 w; DDP averages 2 and 40.
    assert first == second == [[0, 1], False, pytest.approx((2 * 1 + 2 * 20) / 2)]


def test_a_callback_logs_as_its_own(tmp_path) -> None:
    """`self.log` and `self.log_dict` of a callback are those of the module, for a run."""

    class Logs(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.log("batches", batch_idx + 1.0, on_step=False, on_epoch=True, reduce_fx="max")

        def on_train_epoch_end(self, trainer, pl_module):
            self.log_dict({"a": 1.0, "b": 2.0})

    class Own(Callback):
        log = "mine"

        def on_train_start(self, trainer, pl_module):
            assert self.log == "mine"

    logs = Logs()
    trainer = quiet(tmp_path, callbacks=[logs, Own()])
    trainer.fit(Toy(), loader(12), loader(4))

    assert {name: float(trainer.callback_metrics[name]) for name in ("batches", "a", "b")} == {
        "batches": 3.0,
        "a": 1.0,
        "b": 2.0,
    }
    assert not hasattr(logs, "log")


def test_a_dict_is_logged_under_its_name(tmp_path) -> None:
    """Each of its values under name and key, with the same arguments."""

    class Dicts(Toy):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("losses", {"all": loss, "one": 1.0}, on_step=False, on_epoch=True)
            return loss

    trainer = quiet(tmp_path)
    trainer.fit(Dicts(), loader(8), loader(8))

    assert float(trainer.callback_metrics["losses/one"]) == 1.0
    assert "losses/all" in trainer.callback_metrics
    assert "losses/all_step" not in trainer.callback_metrics


def test_log_dir_is_a_folder_without_loggers_too(tmp_path) -> None:
    """Programs join it to names of files of their own."""
    assert quiet(tmp_path).log_dir == str(tmp_path)


def test_a_module_alone_is_drawn(tmp_path) -> None:
    """`log_graph` of a module that is in no run; it stays in training mode."""
    logger, module = TensorBoardLogger(tmp_path, log_graph=True), Toy()
    logger.log_graph(module, torch.zeros(1, 4))
    logger.save()

    assert module.training
    assert list(Path(logger.log_dir).glob("events*"))
