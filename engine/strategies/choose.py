"""From the Trainer's words to a device and a strategy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from engine.runtime.distributed import launch
from engine.runtime.distributed.gpus import pick_idle
from engine.runtime.distributed.world import World, join_group, rank_zero_info, read_world
from engine.runtime.errors import MisconfigurationException
from engine.runtime.settings import HardwareSettings
from engine.strategies.base import Strategy
from engine.strategies.declared.environments import OWN, ClusterEnvironment
from engine.strategies.declared.requested import INSTEAD, StrategyRequest, strategy_request

CHOSEN = "ENGINE_CHOSEN_GPUS"  # from a process to the ranks that it starts
_ACCELERATORS = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}


def device_type(hardware: HardwareSettings, world: World) -> str:
    """cpu, cuda or mps.

    The default is the CPU, unless a launcher gave this job GPUs; "auto" takes a GPU if there is
    one.
    """
    word = hardware.accelerator
    if word is None:
        was_given = world.launched and not world.by_engine
        return "cuda" if was_given and torch.cuda.is_available() else "cpu"
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if word not in _ACCELERATORS:
        why = INSTEAD.get(str(word), "give cpu, gpu, mps or auto; nothing else is supported")
        raise MisconfigurationException(f"Trainer(accelerator={word!r}): {why}")
    if word == "mps" and not torch.backends.mps.is_available():
        raise MisconfigurationException(
            "Trainer(accelerator='mps'): torch sees no Apple GPU here; give accelerator='cpu'"
        )
    return _ACCELERATORS[word]


def device_indices(devices: int | list[int] | None, available: int) -> list[int] | None:
    """The devices that `devices` means; None where it leaves that to the launcher.

    A number counts, a list names; -1 is all of them.
    """
    if devices is None or isinstance(devices, list):
        return devices
    return list(range(available if devices == -1 else devices))


def choose_strategy(hardware: HardwareSettings, world: World) -> Strategy:
    """The strategy of this process: its device, and how it works with the others.

    Where a launcher made the processes, their number counts; numbers that differ are said once.
    Where nobody did and several are asked for, the world is what it will be, as
    `join_process_group` makes it.
    """
    if isinstance(hardware.strategy, Strategy):
        return hardware.strategy
    plan = strategy_request(hardware.strategy, hardware.plugins)
    world = _world_now(hardware, world)
    _number_by_bus(hardware, world)
    kind = device_type(hardware, world)
    available = torch.cuda.device_count() if kind == "cuda" else (os.cpu_count() or 1)
    devices = hardware.devices
    if devices == "auto":
        devices = -1 if kind == "cuda" else None
    if kind == "cuda" and hardware.auto_select_gpus:
        devices = _idle(devices, world, available)
    indices = device_indices(devices, available)
    per_node = 1 if indices is None else len(indices)
    if hardware.num_nodes > 1 and not world.launched:  # here may be no GPU, on the nodes there is
        raise MisconfigurationException(_how_to_launch(indices, hardware.num_nodes, kind))
    if kind == "cuda":
        named = indices if _are_numbers_of_here(devices, world, available) else None
        _check_gpus(named, available)
    if not world.launched:
        world = replace(world, world_size=per_node, local_world_size=per_node)
        if kind == "cuda" and indices is not None:
            rank_zero_info(f"engine: GPU {', '.join(map(str, indices))}")
    else:
        renumbered = available if kind == "cuda" and named is None else 0
        _say_if_different(hardware, world, per_node, renumbered)
    device = torch.device(plan.options.get("device", kind) if kind == "cpu" else kind)
    if kind == "cuda":
        device = torch.device("cuda", _gpu_of(world, named, available))
        _use(device, world)
    _say_remark(plan, world)
    return _strategy(plan, hardware, device, world)


def _use(device: torch.device, world: World) -> None:
    """Make a GPU this process's own; not where ranks may be forked, which then could use none."""
    if device.type == "cuda" and (world.launched or world.world_size == 1):
        torch.cuda.set_device(device)


def _say_remark(plan: StrategyRequest, world: World) -> None:
    # What is said of ranks that are spawned is that here they are not; in a notebook they are.
    are_ours = world.by_engine or not world.launched
    holds = not (plan.start and are_ours and launch.why_no_script())
    if plan.remark is not None and holds:
        rank_zero_info(f"engine: {plan.remark}")


def _idle(devices: int | list[int] | None, world: World, available: int) -> Any:
    """The devices with a number turned into so many that are idle; a launcher has chosen already.

    The ranks that are started from here must not choose again: the first ones are busy by then.
    """
    if not isinstance(devices, int) or (world.launched and not world.by_engine):
        return devices
    if not world.launched:
        chosen = pick_idle(devices, available)
        os.environ[CHOSEN] = ",".join(map(str, chosen))
    return [int(index) for index in os.environ[CHOSEN].split(",")]


def join_process_group(strategy: Strategy, hardware: HardwareSettings) -> Strategy:
    """The strategy for a run that begins, in the process group of all ranks.

    Where nobody launched the others that the Trainer asks for, they are started here. A Trainer
    that was made before another one started them works in their world, too.
    """
    if not strategy.world.launched and not isinstance(hardware.strategy, Strategy):
        now = _world_now(hardware, read_world())
        if now.launched:
            strategy = choose_strategy(hardware, now)
        elif strategy.world.world_size > 1:
            launch.start_others(strategy.world)
            strategy.world = _world_now(hardware, read_world())
            _use(strategy.root_device, strategy.world)
        else:
            launch.note_alone()
    world = strategy.world
    if world.by_engine and world.rank > 0:
        launch.follow_quietly()
    join_group(world, strategy.root_device, strategy.backend)
    launch.all_joined()
    return strategy


def start_method(strategy: Strategy, hardware: HardwareSettings) -> str | None:
    """How a verb gets its ranks where this program can't be run again: fork, spawn or auto.

    None where it can, or where no rank is missing.
    """
    if strategy.world.launched or strategy.world.world_size == 1:
        return None
    if isinstance(hardware.strategy, Strategy) or launch.why_no_script() is None:
        return None
    if _world_now(hardware, read_world()).launched:
        return None
    return strategy_request(hardware.strategy, hardware.plugins).start or "auto"


def _world_now(hardware: HardwareSettings, launched: World) -> World:
    """The world as it was found, unless an environment object knows better."""
    environment = strategy_request(hardware.strategy, hardware.plugins).environment
    return launched if environment is None else _world_of(environment, hardware.num_nodes)


def _world_of(environment: ClusterEnvironment, num_nodes: int) -> World:
    """The world as an environment object says it; one of the user's own is a launcher as any."""
    detected = environment.read_world()
    if type(environment) in OWN:
        return detected
    declared = (environment.world_size(), environment.global_rank(), environment.local_rank())
    if declared == (detected.world_size, detected.rank, detected.local_rank):
        return detected
    size, rank, local_rank = declared
    variables = {
        "RANK": rank,
        "LOCAL_RANK": local_rank,
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": max(1, size // max(1, num_nodes)),
        "GROUP_RANK": environment.node_rank(),
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": environment.main_port,
    }
    os.environ.update({name: str(value) for name, value in variables.items()})
    return read_world()


def _say_if_different(
    hardware: HardwareSettings, world: World, per_node: int, renumbered: int
) -> None:
    """One line where the launcher has other ranks, or (so many) other GPUs, than the Trainer."""
    asked = per_node * hardware.num_nodes
    says_devices = hardware.devices not in (None, -1, "auto")
    differs = (says_devices and asked != world.world_size) or (
        hardware.num_nodes not in (1, world.num_nodes)
    )
    if differs:
        rank_zero_info(
            f"engine: the launcher started {world.world_size} ranks on {world.num_nodes} "
            f"node{'s' if world.num_nodes > 1 else ''}, the Trainer says {asked} "
            f"({per_node} x {hardware.num_nodes} nodes): {world.world_size} it is"
        )
    elif renumbered and isinstance(hardware.devices, list):
        rank_zero_info(
            f"engine: the launcher shows {renumbered} GPUs here, which are numbered anew: they are "
            f"taken in turn, not by the Trainer's numbers ({', '.join(map(str, hardware.devices))})"
        )


def _number_by_bus(hardware: HardwareSettings, world: World) -> None:
    """Let GPUs have the numbers that nvidia-smi shows; for that it must come before CUDA begins."""
    # Asked the other way, the driver begins, and no rank that is forked could use it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    asks = hardware.accelerator in ("gpu", "cuda", "auto") or world.launched
    has_begun: Callable[[], bool] = torch.cuda.is_initialized
    if asks and not has_begun():
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def _are_numbers_of_here(devices: int | list[int] | None, world: World, available: int) -> bool:
    """Whether the Trainer's GPUs are the ones to take, not just the launcher's one after the other.

    A launcher may show each rank its own GPU only, or the chosen ones with numbers from 0 on.
    """
    if not world.launched:
        return True
    if not isinstance(devices, list) or world.by_engine:
        return isinstance(devices, list)
    return len(devices) >= world.local_world_size and max(devices, default=0) < available


def _check_gpus(indices: list[int] | None, available: int) -> None:
    if not available:
        raise MisconfigurationException(
            "the Trainer was asked for a GPU, and torch sees none on this machine. Leave gpus (or "
            "accelerator) out to train on the CPU, or start the script where there is a GPU"
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


def _how_to_launch(indices: list[int] | None, nodes: int, kind: str) -> str:
    per_node = 1 if indices is None else len(indices)
    words: int | str = per_node or "all"  # 0: all, and here is none
    if kind == "cuda" and indices and indices != list(range(per_node)):
        words = ",".join(map(str, indices)) + ("," if per_node == 1 else "")
    command = launch.launch_command(words, nodes, "--gpus" if kind == "cuda" else "--procs")
    return (
        f"the Trainer asks for {nodes} nodes, and this process was started alone: a script starts "
        f"processes on its own machine only. Start it with\n    {command}\n"
        f"or within a SLURM job with `srun --nodes={nodes} --ntasks-per-node={per_node or 'GPUS'} "
        "python ...`"
    )


def _strategy(
    plan: StrategyRequest, hardware: HardwareSettings, device: torch.device, world: World
) -> Strategy:
    if world.world_size == 1:
        return Strategy(device, world)
    if plan.kind == "single":
        raise MisconfigurationException(
            f"Trainer(strategy='single_device') in a world of {world.world_size} ranks: use 'ddp'"
        )
    sync_batchnorm = hardware.sync_batchnorm or plan.sync_batchnorm
    if plan.kind == "fsdp":
        from engine.strategies.fsdp import FSDP

        if sync_batchnorm:
            raise MisconfigurationException(
                "Trainer(strategy='fsdp', sync_batchnorm=True): they do not go together; use 'ddp'"
            )
        return FSDP(device, world, plan.options, plan.backend)
    from engine.strategies.ddp import DDP

    return DDP(device, world, plan.options, sync_batchnorm, plan.backend)
