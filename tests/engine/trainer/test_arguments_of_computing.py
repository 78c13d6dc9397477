"""Arguments of the Trainer that look at numbers and devices, each by what it does."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine import MisconfigurationException, Trainer, seed_everything
from engine.callbacks.monitors.gradients import grad_norm
from engine.compat.arguments import parse
from engine.loggers import MemoryLogger
from engine.runtime.distributed.world import World
from engine.strategies import choose as devices
from tests.engine.support.toy import Toy, loader, quiet, weights

pytestmark = pytest.mark.filterwarnings("ignore:there is a validation_step")


class Spoiled(Toy):
    """Its loss, or one weight, is no number from batch 2 on."""

    what = "loss"

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        if batch_idx == 2 and self.what == "loss":
            loss = loss * torch.nan
        if batch_idx == 2 and self.what == "weight":
            self.net[3].bias.register_hook(lambda gradient: gradient * torch.inf)
        return loss


def test_numbers_that_are_none(tmp_path):
    """S171: terminate_on_nan names the batch, and the parameters; off, nothing is looked at."""
    options = {"terminate_on_nan": True}
    with pytest.raises(ValueError, match="the loss is nan in batch 2 of epoch 0"):
        quiet(tmp_path, **options).fit(Spoiled(), loader())
    model = Spoiled()
    model.what = "weight"
    with pytest.raises(ValueError, match=r"1 of 4 parameters .* after batch 2 .*: net.3.bias$"):
        quiet(tmp_path, **options).fit(model, loader())
    trainer = quiet(tmp_path)
    trainer.fit(Spoiled(), loader())
    assert trainer.global_step == 6
    assert not any("finite" in type(c).__module__ for c in trainer.callbacks)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.filterwarnings("ignore:Error detected in")
def test_the_operation_behind_a_nan_gradient(tmp_path):
    """C5: detect_anomaly makes autograd raise there, in this run only."""

    class Root(Toy):
        def training_step(self, batch, batch_idx):
            return self.loss(batch) + torch.sqrt(self.net[0].weight.sum() * 0)

    quiet(tmp_path).fit(Root(), loader())
    with pytest.raises(RuntimeError, match=r"MulBackward0.*nan"):
        quiet(tmp_path, detect_anomaly=True).fit(Root(), loader())
    assert not torch.is_anomaly_enabled()


@pytest.mark.parametrize("norm", [1, 2.0, "inf"])
def test_norms_of_gradients(tmp_path, norm):
    """S142: of each parameter and of all together, as they are before they are clipped; at the
    steps that loggers hear of, and nothing without the argument."""
    logger, totals = MemoryLogger(), []

    class Norms(Toy):
        def on_before_optimizer_step(self, optimizer):
            gradients = [p.grad.flatten() for p in self.parameters()]
            totals.append(float(torch.cat(gradients).norm(float(norm))))

    options = {"logger": logger, "log_every_n_steps": 2, "gradient_clip_val": 1e-3}
    quiet(tmp_path, track_grad_norm=norm, **options).fit(Norms(), loader())
    name = f"grad_{float(norm)}_norm"
    found = logger.series(f"{name}_total")
    assert [step for step, _ in found] == [1, 3, 5]
    assert [value for _, value in found] == pytest.approx(totals[1::2])
    assert len(logger.series(f"{name}/net.0.weight")) == 3
    assert not grad_norm(torch.nn.Linear(2, 2), 2)
    with pytest.raises(MisconfigurationException, match="track_grad_norm=0"):
        Trainer(track_grad_norm=0)


def test_gradients_are_clipped(tmp_path):
    """S132: by norm, once before each optimizer step and after the scale of 16 bits is off; 0 is
    off; by value, too.
    """
    norms, largest = [], []

    class Norms(Toy):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, closure, *args, **kw):
            def watched():
                closure()

            optimizer.step(closure=watched)
            gradients = torch.cat([p.grad.flatten() for p in self.parameters()])
            norms.append(float(gradients.norm()))
            largest.append(float(gradients.abs().max()))

    for value, precision in ((0, 32), (0.05, 32), (0.05, 16)):
        norms.clear()
        options = {"gradient_clip_val": value, "precision": precision}
        quiet(tmp_path, accumulate_grad_batches=2, **options).fit(Norms(), loader())
        assert len(norms) == 3
        assert (max(norms) == pytest.approx(0.05, abs=1e-5)) == bool(value)
    largest.clear()
    options = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}
    quiet(tmp_path, **options).fit(Norms(), loader())
    assert max(largest) == pytest.approx(0.01) and max(norms) > 0.01


def test_two_runs_are_equal_to_the_last_bit(tmp_path, monkeypatch):
    """S166, S167: deterministic=True and a seed; benchmark sets cudnn's flag."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    trained = []
    for _ in range(2):
        seed_everything(5)
        model = Toy(dropout=0.5)
        quiet(tmp_path, deterministic=True, benchmark=True, max_epochs=2).fit(
            model, loader(shuffle=True)
        )
        assert torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        trained.append(weights(model))
    assert torch.equal(*trained)
    assert torch.backends.cudnn.benchmark


def test_switches_of_torch_are_a_trainers_own(tmp_path, monkeypatch):
    """S123, S166, S167: they are set from the Trainer on, in each of its runs and after them;
    another Trainer, also one within a run, has its own; what the program sets itself stays.
    """
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    def now():
        return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark

    seen = []

    class Watch(Toy):
        within = None

        def training_step(self, batch, batch_idx):
            if batch_idx == 1 and self.within is not None:
                self.within().fit(Watch(), loader(4))
            seen.append(now())
            return self.loss(batch)

    def made(**options):
        return quiet(tmp_path, limit_train_batches=2, **options)

    try:
        first, second = made(deterministic=True, benchmark=True), made()
        assert now() == (False, False)
        first.fit(Watch(), loader())
        assert now() == (True, True)
        second.fit(Watch(), loader())
        outer = Watch()
        outer.within = made
        made(deterministic="warn", benchmark=True).fit(outer, loader())
        assert seen == [(True, True)] * 2 + [(False, False)] * 2 + [
            (True, True),
            (False, False),
            (True, True),
        ]
        torch.backends.cudnn.benchmark = False  # the program's own word
        made(deterministic=True)
        assert now() == (True, False)
        made(benchmark=True)
        assert now() == (False, True)
        torch.use_deterministic_algorithms(True)
        made(benchmark=False)
        assert now() == (True, False)
        made()
        assert now() == (True, False)
    finally:
        torch.use_deterministic_algorithms(False)


def test_logged_values_wait_on_the_cpu(tmp_path):
    """S178: they are moved as they come in, those of steps and of epochs."""
    asked = []

    class Counted(torch.Tensor):
        def cpu(self, *args, **kwargs):
            asked.append(self.shape)
            return super().cpu(*args, **kwargs)

    class Logs(Toy):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            value = loss.detach().as_subclass(Counted)
            self.log("step_and_epoch", value, on_step=True, on_epoch=True)
            return loss

    for moves in (False, True):
        asked.clear()
        trainer = quiet(tmp_path, move_metrics_to_cpu=moves)
        trainer.fit(Logs(), loader())
        assert bool(asked) == moves
        assert trainer.callback_metrics["step_and_epoch"].device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_logged_values_of_a_gpu_wait_on_the_cpu(tmp_path):
    """S139, S178: also where the module is on a GPU, whose memory is logged."""
    logger = MemoryLogger()
    options = {"move_metrics_to_cpu": True, "log_gpu_memory": "min_max", "log_every_n_steps": 1}
    trainer = quiet(tmp_path, gpus=1, logger=logger, **options)
    trainer.fit(Toy(), loader(), loader())
    assert {v.device.type for v in trainer.callback_metrics.values()} == {"cpu"}
    assert all(value > 0 for _, value in logger.series("max_gpu_mem"))
    assert len(logger.series("max_gpu_mem")) == 6


ALONE = World()


FAKES = Path(__file__).parents[2] / "fakes"


GB = 2**30


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """An NVIDIA driver that says so of these GPUs."""
    file = tmp_path / "driver.json"
    monkeypatch.setenv("PLAUNCH_GPU_DRIVER", str(file))
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)

    def install(*gpus):
        file.write_text(json.dumps({"gpus": gpus}))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)

        class Properties:
            def __init__(self, index):
                # torch counts from the other end, as CUDA_VISIBLE_DEVICES could make it.
                self.uuid = gpus[::-1][index]["uuid"].removeprefix("GPU-")

        monkeypatch.setattr(torch.cuda, "get_device_properties", Properties)

    yield install
    sys.modules.pop("pynvml", None)


def test_idle_gpus_are_chosen(driver, monkeypatch):
    """S137: those that no process computes on, by torch's numbers; a list is obeyed, ranks that are
    started from here take what was chosen, and a launcher's choice stays."""
    monkeypatch.setenv(devices.CHOSEN, "")  # as it was, afterwards
    driver(
        {"uuid": "GPU-a"},
        {"uuid": "GPU-b", "compute_pids": [1]},
        {"uuid": "GPU-c"},
        {"uuid": "GPU-d", "compute_mode": 2},
    )

    def chosen(gpus, world=ALONE):
        hardware = parse({"gpus": gpus, "auto_select_gpus": True}).hardware
        return devices.choose_strategy(hardware, world).root_device.index

    assert chosen(1) == 1  # the driver's GPU-c: torch counts from the other end here
    assert chosen([2]) == 2
    assert chosen(2) == 1
    second = World(1, 1, world_size=2, local_world_size=2, launched=True)
    assert chosen(2, replace(second, by_engine=True)) == 3
    assert chosen(2, second) == 1
    with pytest.raises(MisconfigurationException, match="of 4 these are idle: 1, 3"):
        chosen(3)


def test_gpu_memory_is_logged(driver):
    """S139: all GPUs or the least and the most, by torch's numbers, at the steps that loggers
    hear of; the driver is asked by NVML, no program is started."""
    from types import SimpleNamespace

    from engine.callbacks.monitors.gpu_memory import GpuMemory

    driver(
        {"uuid": "GPU-a", "memory_used": 2 * GB},
        {"uuid": "GPU-b", "memory_used": 5 * GB},
    )
    every = {f"gpu_id: {i}/memory.used (MB)": mb for i, mb in enumerate((5 * 1024, 2 * 1024))}
    for mode, values in (("all", every), ("min_max", {"min_gpu_mem": 2048, "max_gpu_mem": 5120})):
        logger = MemoryLogger()
        (callback,) = [
            c for c in Trainer(log_gpu_memory=mode).callbacks if isinstance(c, GpuMemory)
        ]
        trainer = SimpleNamespace(
            strategy=SimpleNamespace(root_device=torch.device("cuda", 0)),
            loggers=[logger],
            is_global_zero=True,
            log_every_n_steps=2,
            current_epoch=0,
            global_step=0,
        )
        callback.on_train_start(trainer, None)
        for trainer.global_step in (1, 2, 2, 3, 4):
            callback.on_train_batch_end(trainer, None, None, None, 0)
        assert [step for step, _ in logger.rows] == [1, 3]
        assert values.items() <= logger.rows[0][1].items()


def test_gpu_memory_without_a_gpu(tmp_path):
    """S139: a warning, since there is nothing to log."""
    with pytest.warns(UserWarning, match="uses no GPU"):
        quiet(tmp_path, log_gpu_memory="all").fit(Toy(), loader(4))


def test_it_resumes_by_argument(tmp_path):
    """S164: resume_from_checkpoint restores epoch, step and schedulers at fit."""

    class Scheduled(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    trainer = quiet(tmp_path, max_epochs=2)
    trainer.fit(Scheduled(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = quiet(tmp_path, max_epochs=3, resume_from_checkpoint=tmp_path / "a.ckpt")
    seen = []

    class Watch(Scheduled):
        def on_train_start(self):
            (config,) = self.trainer.lr_scheduler_configs
            seen.extend([self.current_epoch, self.global_step, config.scheduler.last_epoch])

    again.fit(Watch(), loader())
    assert seen == [2, 12, 2]
    assert again.global_step == 18
