"""Devices by Lightning's names, and functions that count them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import torch

from engine.compat.legacy.accelerators import Accelerator as Accelerator
from engine.compat.legacy.accelerators import CPUAccelerator as CPUAccelerator
from engine.compat.legacy.accelerators import GPUAccelerator as GPUAccelerator
from engine.runtime.distributed.gpus import pick_idle
from engine.runtime.errors import MisconfigurationException
from engine.strategies.choose import device_indices


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


def pick_multiple_gpus(nb: int) -> list[int]:
    """So many GPUs that no other process computes on."""
    return pick_idle(nb, torch.cuda.device_count())


def pick_single_gpu(exclude_gpus: Sequence[int] = ()) -> int:
    """A GPU that no other process computes on, and none of these."""
    found = [index for index in pick_multiple_gpus(-1) if index not in exclude_gpus]
    if not found:
        raise RuntimeError(f"there is no idle GPU beside {list(exclude_gpus)}")
    return found[0]


def find_free_network_port() -> int:
    """A port that is free at this moment: another program may take it in the next."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def determine_root_gpu_device(gpus: list[int] | None) -> int | None:
    """The first of the GPUs."""
    return gpus[0] if gpus else None
