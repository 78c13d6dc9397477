"""The base of the strategies, which is also the one for a single process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from engine.runtime.distributed import world
from engine.runtime.distributed.gather import all_gather
from engine.runtime.distributed.world import World

if TYPE_CHECKING:
    from engine.runtime.data.types import State, StepOutput

T = TypeVar("T")


class Strategy:
    """How a model is placed and stepped, and how ranks agree: here there is one rank.

    Args:
        device: where the module goes, on this rank.
        world: this process's ranks and the number of processes.
    """

    runs_as = "single_device"
    backend: str | None = None  # of the process group; None: what fits the device
    allows_inference_mode = True
    holds_all = True  # each rank has all of the model
    lightning_module: Any = None  # of the run that goes on, or of the last one

    def __init__(self, device: torch.device, world: World) -> None:
        self.root_device = device
        self.world = world

    # ------------------------------------------------------------------ the model

    def load(self) -> None:
        """Import what `to_device` needs: once, for all ranks that are forked from this process."""

    def to_device(self, module: torch.nn.Module) -> None:
        """Move the module to the device."""
        module.to(self.root_device)

    def wrap(self, module: Any, takes_turns: bool = False) -> Callable[..., Any]:
        """The function that runs a training step of `module`.

        `takes_turns` says that a step uses some of the parameters only: those of one optimizer.
        """
        step: Callable[..., Any] = module.training_step
        return step

    def around(self, module: torch.nn.Module) -> torch.nn.Module:
        """What a loop of one's own calls in the place of `module`, to have averaged gradients."""
        return module

    def end_training(self) -> None:
        """The last training step of a fit is done, on all ranks: raise where it was not right."""

    def unwrap(self) -> None:
        """Undo what `wrap` did to the module."""

    def no_sync(self) -> AbstractContextManager[object]:
        """The context of a micro-batch whose gradients are only accumulated."""
        return nullcontext()

    def step_without_batch(self) -> StepOutput:
        """Take the place of a training step where a loader gave None: there is no loss."""
        return None

    def skip_batch(self) -> None:
        """A training step has returned None; where ranks can't go on without one, raise."""

    def join_without_loss(self, has_gradients: bool) -> bool:
        """Take part in a step although this rank's last training step returned None.

        Returns whether there is a step: this rank has gradients of earlier batches, or any other
        has some.
        """
        return has_gradients

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average gradients that were accumulated without `wrap`'s own averaging."""

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        """Give all ranks the buffers of rank zero."""

    def broadcast_parameters(self, module: torch.nn.Module) -> None:
        """Give all ranks the parameters and buffers of rank zero."""

    def place(self, module: torch.nn.Module) -> None:
        """An earlier name of `to_device`."""
        self.to_device(module)

    def share_buffers(self, module: torch.nn.Module) -> None:
        """An earlier name of `broadcast_buffers`."""
        self.broadcast_buffers(module)

    def share_weights(self, module: torch.nn.Module) -> None:
        """An earlier name of `broadcast_parameters`."""
        self.broadcast_parameters(module)

    # ------------------------------------------------------------------ what it shows

    @property
    def model(self) -> Any:
        """The module, within what averages its gradients, if anything does."""
        return self.lightning_module

    @property
    def is_distributed(self) -> bool:
        """Whether there are other processes."""
        return self.world.world_size > 1

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the process that writes."""
        return self.world.rank == 0

    @property
    def global_rank(self) -> int:
        """The rank of this process."""
        return self.world.rank

    @property
    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return self.world.local_rank

    @property
    def node_rank(self) -> int:
        """The rank of this node."""
        return self.world.node_rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.world.world_size

    @property
    def num_processes(self) -> int:
        """Number of processes on this node."""
        return self.world.local_world_size

    @property
    def on_gpu(self) -> bool:
        """Whether this process computes on a GPU."""
        return self.root_device.type == "cuda"

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int]:
        """What a DistributedSampler of one's own is told."""
        return {"num_replicas": self.world.world_size, "rank": self.world.rank}

    def lightning_module_state_dict(self) -> State:
        """The module's state; call it on all ranks."""
        return self.module_state(self.lightning_module)

    # ------------------------------------------------------------------ what is saved

    def module_state(self, module: torch.nn.Module) -> State:
        """The module's state for a checkpoint; called on all ranks, what rank zero gets counts."""
        return module.state_dict()

    def load_module_state(
        self, module: torch.nn.Module, state: Mapping[str, Any], strict: bool = True
    ) -> None:
        """Give the module the state that a checkpoint holds."""
        module.load_state_dict(state, strict=strict)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        """The state of an optimizer that a checkpoint holds."""
        return optimizer.state_dict()

    def load_optimizer_state(
        self, optimizer: torch.optim.Optimizer, content: Mapping[str, Any]
    ) -> None:
        """Give an optimizer the state that a checkpoint holds."""
        optimizer.load_state_dict(dict(content))

    # ------------------------------------------------------------------ agreement

    def broadcast(self, obj: T, src: int = 0) -> T:
        """The object that rank `src` has, on all ranks; all ranks call it.

        Args:
            obj: plain data or tensors; what other ranks give is ignored.
            src: the rank that counts. By default 0.
        """
        return world.broadcast(obj, src)

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks."""
        world.barrier()

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """A tensor reduced over all ranks; anything else as it is.

        Args:
            tensor: of the same shape on every rank; all ranks call it.
            group: accepted and without effect: it is always all ranks.
            reduce_op: `"mean"`, `"sum"`, `"min"` or `"max"`, or torch's ReduceOp of these.

        Returns:
            A tensor of that shape, the same on all ranks.
        """
        if not isinstance(tensor, torch.Tensor):
            return tensor
        op = str(reduce_op or "mean").lower().removeprefix("reduceop.")
        return world.all_reduce(tensor, "mean" if op == "avg" else op)

    def all_gather(self, tensor: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """The tensors of all ranks, stacked; in a single process they are returned as they are.

        Args:
            tensor: a tensor of shape S, the same on every rank, or tensors in tuples, lists and
                dicts; all ranks call it.
            group: a process group of torch. By default None: all ranks.
            sync_grads: whether gradients flow back to where the tensors came from. By default
                False.

        Returns:
            A tensor of shape (world_size, *S), in the order of the ranks, in the place of each.
        """
        return all_gather(tensor, self.root_device, group, sync_grads)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Whether all ranks decided so, or any of them; all ranks call it.

        Args:
            decision: this rank's decision.
            all: whether all ranks must agree (True), or one is enough (False). By default True.
        """
        votes = world.gather_all(bool(decision))
        return min(votes) if all else max(votes)

    def remove_checkpoint(self, path: str) -> None:
        """Delete a checkpoint, from rank zero."""
        if self.world.rank == 0:
            with suppress(FileNotFoundError):
                os.remove(path)


SingleDevice = Strategy  # an earlier name
