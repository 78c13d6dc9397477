"""`trainer.accelerator` and `trainer.training_type_plugin`: objects to ask, as 1.2 to 1.5 had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import MisconfigurationException, Trainer
from engine.compat.legacy.accelerators import Accelerator, CPUAccelerator, GPUAccelerator
from engine.strategies import DDPPlugin, SingleDevice
from tests.engine.support.toy import Toy, loader, quiet


class Asks(Toy):
    """Asks in its hooks what a run computes with."""

    def on_train_start(self) -> None:
        accelerator, plugin = self.trainer.accelerator, self.trainer.training_type_plugin
        assert isinstance(accelerator, CPUAccelerator) and not isinstance(
            accelerator, GPUAccelerator
        )
        assert accelerator.lightning_module is self is plugin.lightning_module
        assert accelerator.model is self and accelerator.training_type_plugin is plugin
        assert accelerator.root_device == torch.device("cpu") == plugin.root_device
        assert accelerator.optimizers == self.trainer.optimizers
        assert accelerator.optimizer_frequencies == [] and accelerator.lr_schedulers == []
        plugin.barrier("here")
        accelerator.barrier()
        assert accelerator.broadcast({"a": 1}) == {"a": 1}
        assert plugin.reduce(torch.tensor(3.0)) == 3.0 and plugin.reduce("text") == "text"
        assert torch.equal(plugin.all_gather(torch.ones(2)), torch.ones(2))
        self.asked = True


def test_what_a_trainer_computes_with_is_an_object(tmp_path: Path) -> None:
    """Its class, module, device, optimizers and collectives; equal to its name, too."""
    trainer, model = quiet(tmp_path, precision=16), Asks()
    assert trainer.accelerator == "cpu" and trainer.accelerator != "gpu"
    assert str(trainer.accelerator) == "cpu" and CPUAccelerator.name() == "cpu"
    assert (trainer.precision_plugin.precision, trainer.accelerator.precision) == (16, 16)
    trainer.fit(model, loader(8), loader(8))

    assert model.asked and trainer.scaler is trainer.precision_plugin.scaler is not None
    assert trainer.accelerator.scaler is trainer.scaler
    assert trainer.accelerator.get_device_stats("cpu") == {}
    assert trainer.training_type_plugin.lightning_module_state_dict().keys() == (
        model.state_dict().keys()
    )
    assert isinstance(trainer.training_type_plugin, SingleDevice)
    plugin = trainer.training_type_plugin
    numbers = (plugin.global_rank, plugin.local_rank, plugin.node_rank, plugin.world_size)
    assert numbers == (0, 0, 0, 1) and plugin.is_global_zero and plugin.num_processes == 1
    assert trainer.distributed_sampler_kwargs == {"num_replicas": 1, "rank": 0}
    assert trainer.should_rank_save_checkpoint and not trainer.on_tpu and not plugin.on_gpu


def test_device_and_strategy_are_said_by_one_object() -> None:
    """`Trainer(accelerator=CPUAccelerator(training_type_plugin=...))`; a precision is refused."""
    plugin = DDPPlugin(find_unused_parameters=False)
    trainer = Trainer(accelerator=CPUAccelerator(training_type_plugin=plugin), logger=False)
    assert trainer.accelerator == CPUAccelerator() and trainer.world_size == 1
    with pytest.raises(MisconfigurationException, match="precision=16"):
        CPUAccelerator(precision_plugin=object())
    with pytest.raises(MisconfigurationException, match=r"ask trainer\.accelerator"):
        _ = CPUAccelerator().model
    with pytest.raises(MisconfigurationException, match="both mean the same"):
        Trainer(accelerator=CPUAccelerator(training_type_plugin=plugin), strategy="fsdp")
    assert not Accelerator.is_available() and CPUAccelerator.auto_device_count() == 1


def test_a_hook_is_called_by_its_name(tmp_path: Path) -> None:
    """`trainer.call_hook` calls it on callbacks and module, and returns what the module says."""

    class Says(Toy):
        def on_mine(self, number: int) -> int:
            return number + 1

    trainer = quiet(tmp_path)
    trainer.fit(Says(), loader(8), loader(8))
    assert trainer.call_hook("on_mine", 3) == 4 and trainer.call_hook("on_nobodys") is None


PROGRAM = """
import json, sys
import torch
from engine import Trainer
from tests.engine.support.toy import Toy, loader, quiet

class Asks(Toy):
    def on_train_batch_start(self, batch, batch_idx):
        plugin = self.trainer.training_type_plugin
        rank = torch.tensor(float(self.global_rank))
        self.found = {
            "model": type(self.trainer.accelerator.model).__name__,
            "module": self.trainer.accelerator.lightning_module is self,
            "sum": plugin.reduce(rank, reduce_op="sum").item(),
            "mean": plugin.reduce(rank).item(),
            "all": self.trainer.accelerator.all_gather(rank).tolist(),
            "said": plugin.broadcast(["rank", self.global_rank]),
            "sampler": plugin.distributed_sampler_kwargs,
            "rank": plugin.global_rank,
        }

model = Asks()
quiet(".", strategy="ddp", accelerator="cpu").fit(model, loader(8), loader(8))
json.dump(model.found, open(sys.argv[1], "w"))
"""


def test_on_two_ranks_it_shows_what_averages_and_agrees(run_ranks: Any) -> None:
    """The wrapped module, sums, means and gathered values of both ranks."""
    found = run_ranks(PROGRAM)
    common = {
        **{"model": "DistributedDataParallel", "module": True, "sum": 1.0, "mean": 0.5},
        **{"all": [0.0, 1.0], "said": ["rank", 0]},
    }
    assert found == [
        {**common, "sampler": {"num_replicas": 2, "rank": rank}, "rank": rank} for rank in (0, 1)
    ]
    assert json.dumps(found)
