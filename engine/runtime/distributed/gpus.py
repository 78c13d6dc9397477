"""What the NVIDIA driver says of the GPUs that torch sees; asked through NVML, never a program."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from engine.runtime.errors import MisconfigurationException


@contextmanager
def driver() -> Iterator[Any]:
    """NVML, ready to be asked; raises where it is not there."""
    try:
        import pynvml
    except ImportError:
        raise MisconfigurationException(
            "the NVIDIA driver is asked through nvidia-ml-py: pip install nvidia-ml-py"
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MisconfigurationException(f"the NVIDIA driver does not answer: {error}") from None
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def memory_used(nvml: Any, indices: Sequence[int]) -> dict[int, int]:
    """Bytes in use on each GPU, by all processes."""
    return {i: int(nvml.nvmlDeviceGetMemoryInfo(_found(nvml, i)).used) for i in indices}


def idle(nvml: Any, indices: Sequence[int]) -> list[int]:
    """The GPUs on which no other process computes; those that can't be asked are not among them."""

    def is_idle(index: int) -> bool:
        try:
            handle = _found(nvml, index)
            if nvml.nvmlDeviceGetComputeMode(handle) == nvml.NVML_COMPUTEMODE_PROHIBITED:
                return False
            running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            return all(process.pid == os.getpid() for process in running)
        except nvml.NVMLError:
            return False

    return [index for index in indices if is_idle(index)]


def pick_idle(count: int, available: int) -> list[int]:
    """So many idle GPUs (-1: all that are), the first ones first; raises where there are fewer."""
    with driver() as nvml:
        found = idle(nvml, range(available))
    if not found or len(found) < count:
        shown = ", ".join(map(str, found)) or "none"
        raise MisconfigurationException(
            f"Trainer(auto_select_gpus=True): {'some' if count < 0 else count} idle GPUs are asked "
            f"for, and of {available} these are idle: {shown}"
        )
    return found if count < 0 else found[:count]


def _found(nvml: Any, index: int) -> Any:
    """The driver's word for torch's GPU `index`, which CUDA_VISIBLE_DEVICES may have renamed."""
    uuid = _uuid(index)
    numbers = range(nvml.nvmlDeviceGetCount())
    handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in numbers]
    for handle in handles:
        name = nvml.nvmlDeviceGetUUID(handle)
        if (name.decode() if isinstance(name, bytes) else name) == uuid:
            return handle
    return handles[index]


def _uuid(index: int) -> str:
    properties: Callable[[int], Any] = torch.cuda.get_device_properties
    return f"GPU-{properties(index).uuid}"
