"""Devices by Lightning's names: classes to ask, not to be made."""

from __future__ import annotations

from typing import Any

import torch

from engine.devices import device_indices
from engine.errors import MisconfigurationException


class Accelerator:
    """A kind of device."""

    kind = ""

    @staticmethod
    def is_available() -> bool:
        """Whether there is one here."""
        return False

    @staticmethod
    def auto_device_count() -> int:
        """How many a run takes that does not say."""
        return 1

    @classmethod
    def name(cls) -> str:
        """What `Trainer(accelerator=...)` calls it."""
        return cls.kind


class CPUAccelerator(Accelerator):
    """The processor."""

    kind = "cpu"

    @staticmethod
    def is_available() -> bool:
        """Always."""
        return True


class GPUAccelerator(Accelerator):
    """GPUs."""

    kind = "gpu"

    @staticmethod
    def is_available() -> bool:
        """Whether torch sees any."""
        return torch.cuda.is_available()

    @staticmethod
    def auto_device_count() -> int:
        """As many as torch sees."""
        return torch.cuda.device_count()


def num_cuda_devices() -> int:
    """As many GPUs as torch sees."""
    return torch.cuda.device_count()


def find_usable_cuda_devices(num_devices: int = -1) -> list[int]:
    """So many GPUs; all with -1."""
    found = list(range(torch.cuda.device_count()))
    if num_devices > len(found) or not found:
        raise RuntimeError(f"{num_devices} GPUs are asked for, and there are {len(found)}")
    return found if num_devices < 0 else found[:num_devices]


def parse_gpu_ids(gpus: Any, *_: Any, **__: Any) -> list[int] | None:
    """The GPUs that `Trainer(gpus=...)` means; None for none."""
    if gpus in (None, 0, "0", "", [], ()):
        return None
    indices = device_indices(gpus, torch.cuda.device_count())
    if indices is not None:
        return list(indices)
    return list(range(int(gpus)))


def parse_cpu_cores(cpu_cores: int | str | None) -> int:
    """The number of processes."""
    text = str(cpu_cores)
    if not text.isdigit() or int(text) < 1:
        raise MisconfigurationException(f"a number of processes is at least 1, not {cpu_cores!r}")
    return int(text)


def determine_root_gpu_device(gpus: list[int] | None) -> int | None:
    """The first of the GPUs."""
    return gpus[0] if gpus else None
