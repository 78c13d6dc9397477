"""Machines with GPUs in every state, for tests."""

from __future__ import annotations

from dataclasses import replace

from launcher.controller.placing.gpu_choice import NodeGpus
from launcher.controller.placing.gpus import Gpu

GIB = 2**30


def gpu(index: int, **state: object) -> Gpu:
    return replace(Gpu(index, f"GPU-{index}", machine_index=index), **state)  # type: ignore[arg-type]


def busy(index: int, used: int = 2 * GIB) -> Gpu:
    return gpu(index, processes=((1234, "alice"),), memory_used=used)


def leased(index: int) -> Gpu:
    return gpu(index, leased="run j7 of bob, pid 9")


def broken(index: int) -> Gpu:
    return gpu(index, usable=False, problem="the driver says: GPU is lost")


def exclusive(index: int) -> Gpu:
    return replace(busy(index), exclusive=True)


def instance(index: int, name: str) -> Gpu:
    return gpu(index, uuid=f"MIG-{name}", parent=f"GPU-{index}", mig_name=f"MIG-GPU-{index}/{name}")


FOUR = (gpu(0), busy(1), gpu(2), gpu(3))
SPLIT = (gpu(0), instance(1, "a"), instance(1, "b"))


def on(gpus: tuple[Gpu, ...], name: str = "h2", limit: tuple[str, ...] | None = None) -> NodeGpus:
    return NodeGpus(name, gpus, limit)
