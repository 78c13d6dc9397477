"""Data parallel training: each rank its share of a batch, gradients averaged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from engine.runtime.compat_flags import compat_flags
from engine.runtime.distributed.world import World
from engine.runtime.errors import MisconfigurationException
from engine.strategies.base import Strategy
from engine.strategies.batchnorm import restore_batchnorm, synchronise_batchnorm
from engine.strategies.no_loss import NoLossCount, no_loss

if TYPE_CHECKING:
    from engine.runtime.data.types import StepOutput


class Steps(torch.nn.Module):
    """Runs the training step inside `forward`: only what goes through forward is averaged."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.has_loss = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One training step; a loss that is none where it returned None, or has no batch."""
        output = None if args[0] is None else self.module.training_step(*args, **kwargs)
        self.has_loss = output is not None
        return output if self.has_loss else no_loss(self.module)


class DDP(Strategy):
    """DistributedDataParallel around the training step, and nothing around the others.

    Args:
        device: where the module goes, on this rank.
        world: this process's ranks and the number of processes.
        options: arguments of DistributedDataParallel, and `ddp_comm_hook`, `ddp_comm_state`.
        sync_batchnorm: whether batch norm layers use the statistics of all ranks in a fit. By
            default False.
        backend: of the process group. By default None: nccl on GPUs, else gloo.
    """

    runs_as = "ddp"

    def __init__(
        self,
        device: torch.device,
        world: World,
        options: Mapping[str, Any] | None = None,
        sync_batchnorm: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__(device, world)
        self.backend = backend
        self._options = {**(options or {})}
        self._hook = self._options.pop("ddp_comm_hook", None)
        self._hook_state = self._options.pop("ddp_comm_state", None)
        self._sync_batchnorm = sync_batchnorm
        self._wrapped: DistributedDataParallel | None = None
        self._no_loss_count: NoLossCount | None = None
        self._no_loss: torch.Tensor | None = None  # of the last step, if it returned None
        self._steps = 0  # with averaged gradients
        self._converted: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []

    def wrap(self, module: Any, takes_turns: bool = False) -> Callable[..., Any]:
        """The function that runs a training step with averaged gradients."""
        if self._sync_batchnorm:
            self._converted = synchronise_batchnorm(module, self.root_device)
        if not module.automatic_optimization:
            # Passes forward and back as the module likes: `average_gradients` follows each.
            self.broadcast_parameters(module)
            return super().wrap(module)
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return super().wrap(module)
        # Parameters of the others need no gradient then: DDP must not wait for them.
        unused = self._finds_unused(compat_flags.find_unused_parameters) or takes_turns
        self._wrapped = self._averaging(Steps(module), unused)
        self._no_loss_count = NoLossCount(self.world)
        return self._step

    def around(self, module: torch.nn.Module) -> torch.nn.Module:
        """DistributedDataParallel; what has nothing to learn needs none."""
        if self._sync_batchnorm:
            self._converted += synchronise_batchnorm(module, self.root_device)
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        return self._averaging(module, self._finds_unused(False))

    def _finds_unused(self, by_default: bool) -> bool:
        """Whether to look in each step which parameters took part; a static graph shows it."""
        by_default = by_default and not self._options.get("static_graph", False)
        return bool(self._options.get("find_unused_parameters", by_default))

    def _averaging(self, module: torch.nn.Module, unused: bool) -> DistributedDataParallel:
        wrapped = DistributedDataParallel(
            module,
            device_ids=[self.root_device] if self.root_device.type == "cuda" else None,
            **{**self._options, "find_unused_parameters": unused},
        )
        if self._hook is not None:
            wrapped.register_comm_hook(self._hook_state, self._hook)
        return wrapped

    @property
    def model(self) -> Any:
        """What averages gradients, around the module."""
        return self.lightning_module if self._wrapped is None else self._wrapped

    def _step(self, *args: Any, **kwargs: Any) -> StepOutput:
        wrapped = self._wrapped
        assert wrapped is not None
        try:
            output = wrapped(*args, **kwargs)
        except RuntimeError as error:
            _explain(error, wrapped.module.module)
            raise
        self._steps += wrapped.require_backward_grad_sync
        if wrapped.module.has_loss:
            return output
        self._no_loss = output
        return None

    def step_without_batch(self) -> StepOutput:
        """Pass forward without the module: gradients are averaged with those of other ranks."""
        return None if self._wrapped is None else self._step(None)

    def join_without_loss(self, has_gradients: bool) -> bool:
        """Take part with gradients of zero, beside those of earlier batches."""
        if self._no_loss is None or self._no_loss_count is None:
            return has_gradients
        if not has_gradients:
            self._no_loss_count.declare(self._steps)
        self._no_loss.backward()  # type: ignore[no-untyped-call]  # torch
        self._no_loss = None
        if has_gradients:
            return True
        if self.root_device.type == "cuda":
            torch.cuda.synchronize(self.root_device)
        return not self._no_loss_count.is_everyone()

    def end_training(self) -> None:
        """Raise where the last step's gradients were not averaged: torch says so at the next."""
        wrapped = self._wrapped
        if wrapped is None or wrapped.find_unused_parameters or not self._steps:
            return
        with torch.enable_grad():
            self._step(None)

    def unwrap(self) -> None:
        """Give the module its own batch norm layers back."""
        self._wrapped = self._no_loss_count = self._no_loss = None
        restore_batchnorm(self._converted)
        self._converted = []

    def no_sync(self) -> AbstractContextManager[object]:
        """The context of a micro-batch whose gradients are only accumulated."""
        return nullcontext() if self._wrapped is None else self._wrapped.no_sync()

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average gradients that are of this rank alone; a rank without one counts as zero."""
        parameters = list(parameters)
        if not parameters:
            return
        has_grad = [parameter.grad is not None for parameter in parameters]
        anywhere = torch.tensor(has_grad, dtype=torch.uint8, device=self.root_device)
        dist.all_reduce(anywhere, dist.ReduceOp.MAX)
        for parameter, has_any in zip(parameters, anywhere.tolist(), strict=True):
            if has_any:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world.world_size

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        """Give all ranks the buffers of rank zero: evaluation then sees one model."""
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)

    def broadcast_parameters(self, module: torch.nn.Module) -> None:
        """Give all ranks the parameters and buffers of rank zero: evaluation without a fit."""
        for parameter in module.parameters():
            dist.broadcast(parameter.data, 0)
        self.broadcast_buffers(module)


# What torch says at the pass after one in which it waited in vain for gradients.
_UNFINISHED = "finished reduction in the prior iteration"
_INDICES = re.compile(r"indices which did not receive grad for rank \d+: ([\d ]+)")
SHOWN = 5  # of the parameters


def _explain(error: RuntimeError, module: torch.nn.Module) -> None:
    """Raise an error that names the parameters without a gradient, if torch's is of such."""
    if _UNFINISHED not in str(error):
        return
    indices = _INDICES.search(str(error))
    names = [name for name, one in module.named_parameters() if one.requires_grad]
    unused = [names[int(index)] for index in indices[1].split()] if indices else []
    more = f" and {len(unused) - SHOWN} more" if len(unused) > SHOWN else ""
    raise MisconfigurationException(
        f"in the last training step parameters of {type(module).__name__} took no part in the "
        f"loss: {', '.join(unused[:SHOWN]) or 'torch does not say which'}{more}. Gradients were "
        "not averaged, since DDP waits for all of them. If a step may leave some out, give "
        "Trainer(strategy='ddp_find_unused_parameters_true') or "
        "DDPStrategy(find_unused_parameters=True); if they are not to be trained, "
        "`requires_grad_(False)`"
    ) from error
