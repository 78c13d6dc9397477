"""From the Trainer's words to a device and a strategy."""

from __future__ import annotations

import os
from typing import Any

import torch

from engine.distributed import World, rank_zero_info
from engine.errors import MisconfigurationException
from engine.settings import HardwareSettings
from engine.strategies.single import SingleDevice

_ACCELERATORS = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}
_DDP = ("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook", "ddp_cpu")
_UNUSED = {"ddp_find_unused_parameters_true": True, "ddp_find_unused_parameters_false": False}


def device_type(hardware: HardwareSettings, world: World) -> str:
    """cpu, cuda or mps.

    The default is the CPU, unless a launcher gave this job GPUs; "auto" takes a GPU if there is
    one.
    """
    word = hardware.accelerator
    if word is None:
        return "cuda" if world.launched and torch.cuda.is_available() else "cpu"
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if word not in _ACCELERATORS:
        raise MisconfigurationException(
            f"Trainer(accelerator={word!r}): give cpu, gpu, mps or auto; nothing else is supported"
        )
    return _ACCELERATORS[word]


def device_indices(devices: Any, available: int) -> list[int] | None:
    """The devices that `devices` (or `gpus`) means; None where it leaves that to the launcher.

    A number counts, a list or a text with commas names; -1 is all of them.
    """
    if isinstance(devices, str):
        text = devices.strip()
        if text == "auto":
            return None
        try:
            if "," in text:
                devices = [int(part) for part in text.split(",") if part.strip()]
            else:
                devices = int(text)
        except ValueError:
            raise MisconfigurationException(
                f"Trainer(devices={devices!r}): give a number, a list, '0,1' or 'auto'"
            ) from None
    if devices is None:
        return None
    if isinstance(devices, (list, tuple)):
        return [int(device) for device in devices]
    return list(range(available)) if devices == -1 else list(range(int(devices)))


def place(hardware: HardwareSettings, world: World) -> SingleDevice:
    """The strategy of this process: its device, and how it works with the others.

    Where a launcher made the processes, their number counts; numbers that differ are said once.
    """
    kind = device_type(hardware, world)
    available = torch.cuda.device_count() if kind == "cuda" else (os.cpu_count() or 1)
    indices = device_indices(hardware.devices, available)
    if kind == "cuda":
        _check_gpus(indices, available)
    per_node = 1 if indices is None else len(indices)
    asked = per_node * hardware.num_nodes
    if not world.launched and asked > 1:
        raise MisconfigurationException(_how_to_launch(per_node, hardware.num_nodes, kind))
    said = hardware.devices not in (None, "auto") or hardware.num_nodes != 1
    if world.launched and said and asked != world.world_size:
        rank_zero_info(
            f"engine: the launcher started {world.world_size} ranks, the Trainer says {asked} "
            f"({per_node} x {hardware.num_nodes} nodes): {world.world_size} it is"
        )
    device = torch.device(kind)
    if kind == "cuda":
        device = torch.device("cuda", _gpu_of(world, indices, available))
        torch.cuda.set_device(device)
    return _strategy(hardware, device, world)


def _check_gpus(indices: list[int] | None, available: int) -> None:
    if not available:
        raise MisconfigurationException(
            "the Trainer was asked for a GPU, and torch sees none on this machine"
        )
    wrong = [index for index in indices or [] if index >= available or index < 0]
    if wrong:
        raise MisconfigurationException(
            f"the Trainer was asked for GPU {wrong[0]}; this machine has 0 to {available - 1}"
        )


def _gpu_of(world: World, indices: list[int] | None, available: int) -> int:
    """The GPU of this rank; more ranks than GPUs share them."""
    if indices and world.local_rank < len(indices):
        return indices[world.local_rank]
    return world.local_rank % available


def _how_to_launch(per_node: int, nodes: int, kind: str) -> str:
    word = "--gpus" if kind == "cuda" else "--procs"
    on_nodes = f"--nodes {nodes} " if nodes > 1 else ""
    torchrun = f"torchrun --standalone --nproc-per-node {per_node} script.py"
    if nodes > 1:
        torchrun = f"torchrun --nnodes {nodes} --nproc-per-node {per_node} ... script.py"
    return (
        f"{per_node * nodes} processes are asked for, and this one was started alone. Start the "
        f"script with `plaunch {on_nodes}{word} {per_node} script.py`, or with `{torchrun}`"
    )


def _strategy(hardware: HardwareSettings, device: torch.device, world: World) -> SingleDevice:
    word = hardware.strategy
    if isinstance(word, SingleDevice):
        return word
    if word in ("dp", "ddp2"):
        rank_zero_info(f"engine: {word!r} runs as 'ddp': one process a device")
        word = "ddp"
    known = (None, "auto", "single_device", *_DDP, *_UNUSED)
    if word not in known:
        raise MisconfigurationException(
            f"Trainer(strategy={word!r}) is not supported yet; there are "
            f"{', '.join(str(name) for name in known[1:])}"
        )
    if world.world_size == 1:
        return SingleDevice(device, world)
    if word == "single_device":
        raise MisconfigurationException(
            f"Trainer(strategy='single_device') in a world of {world.world_size} ranks: use 'ddp'"
        )
    from engine.strategies.ddp import DDP

    return DDP(device, world, _UNUSED.get(str(word), False), hardware.sync_batchnorm)
