"""Small callbacks: functions as hooks, device statistics, names of 1.5, a save on an exception."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch

import engine
from engine import callbacks
from engine.callbacks import (
    Callback,
    DeviceStatsMonitor,
    GPUStatsMonitor,
    LambdaCallback,
    LearningRateLogger,
    LearningRateMonitor,
    OnExceptionCheckpoint,
)
from engine.loggers.memory import MemoryLogger
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet

NAMES = """BackboneFinetuning BaseFinetuning BasePredictionWriter DeviceStatsMonitor
        EarlyStopping GPUStatsMonitor GradientAccumulationScheduler LambdaCallback
        LearningRateMonitor ModelCheckpoint ModelPruning ModelSummary ProgressBar ProgressBarBase
        QuantizationAwareTraining RichModelSummary RichProgressBar StochasticWeightAveraging Timer
        TQDMProgressBar XLAStatsMonitor"""


def test_every_name_is_there():
    """S008, S216, S219, S220: LightningCallback, LearningRateLogger, DeviceStatsMonitor,
    ModelPruning and all other names of 1.5 are callbacks; what is not supported says what to use
    instead."""
    assert engine.LightningCallback is engine.Callback
    assert LearningRateLogger is LearningRateMonitor
    for name in NAMES.split():
        assert issubclass(getattr(callbacks, name), Callback), name
        assert name in callbacks.__all__
    with pytest.raises(MisconfigurationException, match="DeviceStatsMonitor logs"):
        callbacks.XLAStatsMonitor()
    with pytest.raises(MisconfigurationException, match="torchao"):
        callbacks.QuantizationAwareTraining(qconfig="fbgemm")
    with pytest.raises(AttributeError, match="no attribute 'NoSuch'"):
        callbacks.NoSuch  # noqa: B018  (asking is the test)


def test_functions_are_hooks(tmp_path):
    """S211: a function is called as the hook that it is given for; a misspelt hook is an error."""
    seen = []
    made = LambdaCallback(
        on_train_start=lambda trainer, module: seen.append(type(module).__name__),
        on_train_batch_end=lambda trainer, module, outputs, batch, idx: seen.append(idx),
    )
    quiet(tmp_path, callbacks=made).fit(Toy(), loader(8), loader())
    assert seen == ["Toy", 0, 1]
    with pytest.raises(MisconfigurationException, match="no hook 'on_train_begin'"):
        LambdaCallback(on_train_begin=print)


def test_statistics_of_the_device(tmp_path):
    """S219: as often as other values, under the callback's name; an error without a logger."""
    log = MemoryLogger()
    options = {"max_epochs": 2, "log_every_n_steps": 4}
    quiet(tmp_path, logger=log, callbacks=DeviceStatsMonitor(), **options).fit(
        Toy(), loader(), loader()
    )
    found = log.series("DeviceStatsMonitor/process_bytes")
    assert [step for step, _ in found] == [3, 7, 11]
    assert all(value > 1e6 for _, value in found)
    for monitor in (DeviceStatsMonitor(), GPUStatsMonitor()):
        with pytest.raises(MisconfigurationException, match="StatsMonitor logs, and the Trainer"):
            quiet(tmp_path, callbacks=monitor).fit(Toy(), loader(), loader())
    assert DeviceStatsMonitor(cpu_stats=False).read(torch.device("cpu")) == {}


def test_statistics_of_a_gpu(tmp_path, monkeypatch):
    """S219: GPUStatsMonitor reads what is asked for from the driver; off a GPU it says so."""
    driver = types.ModuleType("pynvml")
    driver.nvmlDeviceGetMemoryInfo = lambda gpu: types.SimpleNamespace(used=5, free=7)
    driver.nvmlDeviceGetFanSpeed = lambda gpu: 30
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monitor = GPUStatsMonitor(gpu_utilization=False, fan_speed=True, inter_step_time=True)
    monitor._nvml = "gpu 0"
    assert monitor.read(torch.device("cuda")) == {
        "memory.used_bytes": 5.0,
        "memory.free_bytes": 7.0,
        "fan_percent": 30.0,
    }
    log = MemoryLogger()
    other = GPUStatsMonitor(intra_step_time=True)
    with pytest.warns(UserWarning, match="on no GPU"):
        quiet(tmp_path, logger=log, callbacks=other).fit(Toy(), loader(), loader())


def test_an_exception_leaves_a_checkpoint(tmp_path):
    """The state at the moment of the exception is saved, and a fit goes on from it."""

    class Breaks(Toy):
        def training_step(self, batch, batch_idx):
            if self.global_step == 4 and not done:
                raise RuntimeError("broken")
            return super().training_step(batch, batch_idx)

    done, saves = [], OnExceptionCheckpoint(tmp_path / "saved")
    with pytest.raises(RuntimeError, match="broken"):
        quiet(tmp_path, callbacks=saves).fit(Breaks(), loader(), loader())
    done.append(1)
    assert Path(saves.ckpt_path).name == "on_exception.ckpt"
    trainer = quiet(tmp_path)
    trainer.fit(Breaks(), loader(), loader(), ckpt_path=saves.ckpt_path)
    assert trainer.global_step == 6
