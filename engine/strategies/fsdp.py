"""Fully sharded training: parameters, gradients and optimizer states divided among the ranks.

torch's `fully_shard` does the work. The parameters become DTensors before the optimizers are made;
each group of them is gathered for the moment that it is used in. What is saved is whole, with the
names and shapes of an unsharded module, so any number of ranks can load it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from engine.runtime.distributed.world import World
from engine.runtime.errors import MisconfigurationException
from engine.strategies.base import Strategy
from engine.strategies.no_loss import NoLossCount

if TYPE_CHECKING:
    from engine.runtime.data.types import State

# What a loop calls: parameters outside of any block are gathered for these, as for `forward`.
_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class FSDP(Strategy):
    """`fully_shard` on the module's blocks and on the module.

    Args:
        device: where this rank's part of the module goes.
        world: this process's ranks and the number of processes.
        options: arguments of `fully_shard`, and `cpu_offload`.
        backend: of the process group. By default None: nccl on GPUs, else gloo.
    """

    runs_as = "fsdp"
    holds_all = False
    allows_inference_mode = False  # what is gathered there could not be used in training

    def __init__(
        self,
        device: torch.device,
        world: World,
        options: Mapping[str, Any] | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__(device, world)
        self.backend = backend
        self._options = dict(options or {})

    def load(self) -> None:
        """Import torch's part of it, which takes seconds."""
        from importlib import import_module

        import_module("torch.distributed.fsdp")

    def to_device(self, module: torch.nn.Module) -> None:
        """Give all ranks the weights of rank zero, then each its part of them."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import (
            CPUOffloadPolicy,
            FSDPModule,
            fully_shard,
            register_fsdp_forward_method,
        )

        if isinstance(module, FSDPModule):
            return
        options = dict(self._options)
        # Without a GPU they are in the host's memory anyway.
        if options.pop("cpu_offload", False) and self.root_device.type == "cuda":
            options["offload_policy"] = CPUOffloadPolicy()
        module.to(self.root_device)
        for tensor in _plain_tensors(module):
            dist.broadcast(tensor.detach(), 0)
        options["mesh"] = init_device_mesh(self.root_device.type, (self.world.world_size,))
        for block in blocks_of(module):
            if not isinstance(block, FSDPModule):
                fully_shard(block, **options)
        fully_shard(module, **options)
        for name in _STEPS:
            if callable(getattr(module, name, None)):
                step = getattr(module, name)
                register_fsdp_forward_method(module, name)
                module.__dict__[name] = _with_signature_of(step, module.__dict__[name])

    def wrap(self, module: Any, takes_turns: bool = False) -> Callable[..., Any]:
        """The module's own step: gradients are averaged where they are made."""
        self.broadcast_buffers(module)
        self._no_loss_count, self._skipped = NoLossCount(self.world), 0
        return super().wrap(module, takes_turns)

    def around(self, module: torch.nn.Module) -> torch.nn.Module:
        """Parameters would have to be divided before the optimizer is made: that is refused."""
        raise MisconfigurationException(
            "LightningLite(strategy='fsdp'): parameters are divided before the optimizers are "
            "made, which a Trainer with a LightningModule does; in a loop of your own use 'ddp', "
            "or torch's fully_shard"
        )

    def skip_batch(self) -> None:
        """Gradients are made together, layer by layer: all ranks skip a batch, or none."""
        self._skipped += 1
        self._no_loss_count.require_everyone(self._skipped)

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        """Give all ranks the buffers of rank zero: evaluation then sees one model."""
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)

    def broadcast_parameters(self, module: torch.nn.Module) -> None:
        """The parameters are shared since they were placed."""
        self.broadcast_buffers(module)

    # ------------------------------------------------------------------ what is saved

    def module_state(self, module: torch.nn.Module) -> State:
        """The whole of the module's state, on rank zero; the others help, and get nothing."""
        return self._whole(module.state_dict())

    def load_module_state(
        self, module: torch.nn.Module, state: Mapping[str, Any], strict: bool = True
    ) -> None:
        """Give the module a whole state: each rank takes its part of it."""
        present = module.state_dict()
        parts = {name: _part_of(value, present.get(name)) for name, value in state.items()}
        module.load_state_dict(parts, strict=strict)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        """The whole of an optimizer's state, on rank zero."""
        content = optimizer.state_dict()
        states = {index: self._whole(state) for index, state in content["state"].items()}
        return {**content, "state": states if self.world.rank == 0 else {}}

    def load_optimizer_state(
        self, optimizer: torch.optim.Optimizer, content: Mapping[str, Any]
    ) -> None:
        """Give an optimizer a whole state: each rank takes its part of it."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        indices = [index for group in content["param_groups"] for index in group["params"]]
        by_index = dict(zip(indices, parameters, strict=True))
        states = {
            index: {
                name: _part_of(value, by_index[index], of_same_shape=True)
                for name, value in state.items()
            }
            for index, state in content["state"].items()
        }
        optimizer.load_state_dict({**content, "state": states})

    def _whole(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Gather one tensor after the other, and keep them in the memory of rank zero's host."""
        whole: dict[str, Any] = {}
        for name, value in state.items():
            if _is_sharded(value):
                value = value.full_tensor().cpu()
            if self.world.rank == 0:
                whole[name] = value
        return whole


def blocks_of(module: torch.nn.Module) -> list[torch.nn.Module]:
    """What is gathered at a time: the elements of module lists, else the module's children.

    A block that shares a parameter with what is outside of it is left to the whole.
    """
    lists = [m for m in module.modules() if isinstance(m, torch.nn.ModuleList)]
    blocks = [block for one in _outermost(lists) for block in one]
    if not blocks:
        children = list(module.children())
        while len(children) == 1 and list(children[0].children()):
            children = list(children[0].children())
        blocks = children
    return [block for block in blocks if _can_stand_alone(block, module)]


def _outermost(lists: list[torch.nn.ModuleList]) -> Iterator[torch.nn.ModuleList]:
    inner = {id(m) for one in lists for m in one.modules() if m is not one}
    return (one for one in lists if id(one) not in inner)


def _can_stand_alone(block: torch.nn.Module, module: torch.nn.Module) -> bool:
    mine = {id(parameter) for parameter in block.parameters()}
    inside = sum(1 for _ in block.named_parameters(remove_duplicate=False))
    everywhere = sum(
        id(parameter) in mine for _, parameter in module.named_parameters(remove_duplicate=False)
    )
    # Only what is called is gathered: a container that is merely indexed never is.
    is_called = type(block).forward is not torch.nn.Module.forward
    return bool(mine) and inside == everywhere and is_called


def _with_signature_of(step: Callable[..., Any], gathering: Callable[..., Any]) -> Any:
    """What gathers around a step; the loops look at which arguments the step takes."""

    @wraps(step)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return gathering(*args, **kwargs)

    return wrapped


def _is_sharded(value: object) -> bool:
    return isinstance(value, torch.Tensor) and hasattr(value, "full_tensor")


def _plain_tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Parameters and buffers that no rank has divided yet."""
    for tensor in (*module.parameters(), *module.buffers()):
        if not _is_sharded(tensor):
            yield tensor


def _part_of(value: object, like: Any, of_same_shape: bool = False) -> Any:
    """This rank's part of a whole tensor, divided as `like` is."""
    if not isinstance(value, torch.Tensor) or not _is_sharded(like):
        return value
    if of_same_shape and value.shape != like.shape:  # a counter of steps
        return value
    from torch.distributed.tensor import distribute_tensor

    device = like.to_local().device
    # Every rank has read the file: nothing needs to be sent.
    return distribute_tensor(
        value.to(device), like.device_mesh, like.placements, src_data_rank=None
    )
