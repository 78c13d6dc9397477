"""What the device is busy with, logged beside the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine.callbacks.attach import attach
from engine.callbacks.base import Callback
from engine.callbacks.checks import needs_logger
from engine.runtime.distributed.world import rank_zero_warn

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import Batch, StepOutput
    from engine.trainer.trainer import Trainer

_CUDA = ("allocated_bytes.all.current", "allocated_bytes.all.peak", "reserved_bytes.all.current")


class DeviceStatsMonitor(Callback):
    """Logs memory and load of the device, as often as other values of a step.

    On a GPU those of torch's memory allocator; of the processor its load, its memory and this
    process's share. `cpu_stats` adds those of the processor on a GPU, False leaves them out.

    Args:
        cpu_stats: whether the processor's numbers are logged: True also on a GPU, False never. By
            default None: where there is no GPU.

    Raises:
        MisconfigurationException: in the fit, if the Trainer has no logger.
    """

    def __init__(self, cpu_stats: bool | None = None) -> None:
        self.cpu_stats = cpu_stats
        self._logged_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether there is anywhere to log to."""
        self._logged_step = -1
        needs_logger(self, trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Batch,
        batch_idx: int,
        unused: int = 0,
    ) -> None:
        """Log, when the step's other values are logged."""
        step = trainer.global_step
        if step == self._logged_step or step % trainer.log_every_n_steps != 0 or not step:
            return
        self._logged_step = step
        if trainer.loggers and trainer.is_global_zero:
            values = {
                f"{type(self).__name__}/{name}": value
                for name, value in self.read(trainer.strategy.root_device).items()
            }
            for logger in trainer.loggers:
                logger.log_metrics({**values, "epoch": trainer.current_epoch}, step - 1)

    def read(self, device: torch.device) -> dict[str, float]:
        """The numbers of this moment."""
        values: dict[str, float] = {}
        if device.type == "cuda":
            memory = torch.cuda.memory_stats(device)
            values.update({name: float(memory[name]) for name in _CUDA})
        if self.cpu_stats or (self.cpu_stats is None and device.type == "cpu"):
            values.update(_of_processor())
        return values


class GPUStatsMonitor(DeviceStatsMonitor):
    """Logs the memory and load of the GPU (1.x); without one it does nothing but say so.

    `memory_utilization` and `gpu_utilization` choose what is logged; the other arguments of 1.x
    (times, fan, temperature) log what the driver says.

    Args:
        memory_utilization: whether to log used and free memory, in bytes. By default True.
        gpu_utilization: whether to log the load, in percent. By default True.
        intra_step_time: whether to log how long a step takes, in milliseconds. By default False.
        inter_step_time: whether to log the time between two steps. By default False.
        fan_speed: whether to log the fan's speed in percent. By default False.
        temperature: whether to log the temperature in degrees Celsius. By default False.
    """

    def __init__(
        self,
        memory_utilization: bool = True,
        gpu_utilization: bool = True,
        intra_step_time: bool = False,
        inter_step_time: bool = False,
        fan_speed: bool = False,
        temperature: bool = False,
    ) -> None:
        super().__init__(cpu_stats=False)
        self._wanted = {
            "memory": memory_utilization,
            "utilization": gpu_utilization,
            "fan": fan_speed,
            "temperature": temperature,
        }
        self._nvml: Any = None
        self._times = {"intra_step": intra_step_time, "inter_step": inter_step_time}
        self._clock: dict[str, float] = {}
        if intra_step_time or inter_step_time:
            attach(self, "on_train_batch_start", self._at_start)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the GPU."""
        super().on_train_start(trainer, pl_module)
        device = trainer.strategy.root_device
        if device.type != "cuda":
            rank_zero_warn("GPUStatsMonitor: this run is on no GPU, nothing is logged")
            return
        import pynvml

        pynvml.nvmlInit()
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        self._nvml = pynvml.nvmlDeviceGetHandleByUUID(name.encode())

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Log, when the step's other values are logged."""
        self._note("intra_step", since="start")
        super().on_train_batch_end(*args, **kwargs)
        self._clock["end"] = _now()

    def _at_start(self, *_: object) -> None:
        self._note("inter_step", since="end")
        self._clock["start"] = _now()

    def _note(self, name: str, since: str) -> None:
        if self._times[name] and since in self._clock:
            self._clock[name] = (_now() - self._clock[since]) * 1000.0

    def read(self, device: torch.device) -> dict[str, float]:
        """The numbers of this moment."""
        if self._nvml is None:
            return {}
        import pynvml

        values = {f"{name}_ms": self._clock[name] for name in self._times if name in self._clock}
        if self._wanted["memory"]:
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._nvml)
            values["memory.used_bytes"] = float(memory.used)
            values["memory.free_bytes"] = float(memory.free)
        if self._wanted["utilization"]:
            load = pynvml.nvmlDeviceGetUtilizationRates(self._nvml)
            values["utilization.gpu_percent"] = float(load.gpu)
            values["utilization.memory_percent"] = float(load.memory)
        if self._wanted["fan"]:
            values["fan_percent"] = float(pynvml.nvmlDeviceGetFanSpeed(self._nvml))
        if self._wanted["temperature"]:
            sensor = pynvml.NVML_TEMPERATURE_GPU
            values["temperature_celsius"] = float(
                pynvml.nvmlDeviceGetTemperature(self._nvml, sensor)
            )
        return values


def _now() -> float:
    import time

    return time.monotonic()


def _of_processor() -> dict[str, float]:
    import psutil

    return {
        "cpu_percent": float(psutil.cpu_percent()),
        "cpu_vm_percent": float(psutil.virtual_memory().percent),
        "cpu_swap_percent": float(psutil.swap_memory().percent),
        "process_bytes": float(psutil.Process().memory_info().rss),
    }
