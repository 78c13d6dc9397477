"""Tensors among ranks, in memory, and of a step."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from engine.runtime.data.apply import apply_to_collection
from engine.runtime.distributed.world import all_reduce, is_connected, rank_zero_only
from engine.runtime.seed import mix

tpu_distributed = bool  # always false: there is no TPU


class group:
    """Process groups by name."""

    WORLD = None


def distributed_available() -> bool:
    """Whether there is a process group."""
    return dist.is_available() and dist.is_initialized()


def _get_rank() -> int:
    """The rank of this process."""
    return rank_zero_only.rank


def gather_all_tensors(result: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
    """The tensors of all ranks, by rank; they may differ in size."""
    if not is_connected():
        return [result]
    size = dist.get_world_size(group)
    shape_here = torch.tensor(result.shape, dtype=torch.int64, device=result.device)
    shapes = [torch.empty_like(shape_here) for _ in range(size)]
    if result.ndim:
        dist.all_gather(shapes, shape_here, group)
    sizes = [shape.tolist() for shape in shapes]
    most = [max(dims) for dims in zip(*sizes, strict=True)]
    padded = result.new_zeros(most)
    padded[tuple(slice(n) for n in result.shape)] = result
    gathered = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(gathered, padded.contiguous(), group)
    return [
        tensor[tuple(slice(n) for n in shape)]
        for tensor, shape in zip(gathered, sizes, strict=True)
    ]


def all_gather_ddp_if_available(
    tensor: torch.Tensor, group: Any = None, sync_grads: bool = False
) -> torch.Tensor:
    """The tensors of all ranks, stacked."""
    if not is_connected():
        return tensor
    if sync_grads:
        from torch.distributed.nn.functional import all_gather

        return torch.stack(all_gather(tensor))  # type: ignore[no-untyped-call]  # torch
    return torch.stack(gather_all_tensors(tensor, group))


class AllGatherGrad(torch.autograd.Function):
    """`AllGatherGrad.apply(tensor)`: those of all ranks, stacked; gradients flow back, summed."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, group: Any = None) -> torch.Tensor:
        """Gather."""
        ctx.group = group
        return all_gather_ddp_if_available(tensor, group) if is_connected() else tensor[None]

    @staticmethod
    def backward(ctx: Any, *grad_output: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Sum what all ranks want of this rank's tensor."""
        total = grad_output[0].contiguous()
        if not is_connected():
            return total[0], None
        total = total.clone()
        dist.all_reduce(total, group=ctx.group)
        return total[dist.get_rank(ctx.group)], None


def sync_ddp(result: torch.Tensor, group: Any = None, reduce_op: Any = None) -> torch.Tensor:
    """Sum (or mean, min, max) over the ranks."""
    op = str(reduce_op or "sum").lower().removeprefix("reduceop.")
    return all_reduce(result, "mean" if op in ("mean", "avg") else op)


sync_ddp_if_available = sync_ddp


def pl_worker_init_function(worker_id: int, rank: int | None = None) -> None:
    """Seeds a DataLoader's worker; those of a Trainer are seeded without it."""
    rank = int(os.environ.get("RANK", "0")) if rank is None else rank
    seed = mix(torch.initial_seed() - worker_id, worker_id, rank)
    random.seed(seed)
    torch.manual_seed(seed)
    import numpy as np

    np.random.seed(seed % 2**32)


def metrics_to_scalars(metrics: Any) -> Any:
    """Numbers in the place of tensors that hold one."""
    return apply_to_collection(metrics, torch.Tensor, torch.Tensor.item)


def convert_to_tensors(data: Any, device: torch.device) -> Any:
    """Tensors in the place of numbers, all on `device`."""
    return apply_to_collection(
        data, (bool, int, float, torch.Tensor), lambda item: torch.as_tensor(item, device=device)
    )


def from_numpy(value: Any, device: torch.device) -> torch.Tensor:
    """A tensor on `device` that holds what an array holds."""
    return torch.from_numpy(value).to(device)


def apply_to_collections(
    data1: Any, data2: Any, dtype: Any, function: Any, *args: Any, **kwargs: Any
) -> Any:
    """As `apply_to_collection`, for two collections of the same kind, member by member."""
    if data1 is None:
        data1, data2 = data2, None
    if isinstance(data1, dtype) and data2 is not None:
        return function(data1, data2, *args, **kwargs)
    if data2 is None:
        return apply_to_collection(data1, dtype, function, *args, **kwargs)
    if isinstance(data1, Mapping):
        pairs = {key: (data1[key], data2[key]) for key in data1}
        return {
            key: apply_to_collections(one, two, dtype, function, *args, **kwargs)
            for key, (one, two) in pairs.items()
        }
    if isinstance(data1, (list, tuple)):
        both = zip(data1, data2, strict=True)
        found = [apply_to_collections(*two, dtype, function, *args, **kwargs) for two in both]
        return type(data1)(found)
    return data1


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """All tensors without their graphs."""
    return apply_to_collection(
        in_dict, torch.Tensor, lambda t: t.detach().cpu() if to_cpu else t.detach()
    )


def is_oom_error(error: BaseException) -> bool:
    """Whether memory ran out."""
    text = str(error)
    words = ("CUDA out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(word in text for word in words)


is_cuda_out_of_memory = is_oom_error


def is_cudnn_snafu(error: BaseException) -> bool:
    """Whether cuDNN found no way to compute, as happens when memory ran out."""
    return isinstance(error, RuntimeError) and "CUDNN_STATUS_NOT_SUPPORTED" in str(error)


def garbage_collection_cuda() -> None:
    """Give free memory back to the GPUs."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def get_model_size_mb(model: torch.nn.Module) -> float:
    """What the weights take, in MB."""
    num_bytes: int = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return num_bytes / 1e6


def get_gpu_memory_map() -> dict[str, float]:
    """Memory in use on each GPU, in MB."""
    return {
        f"gpu_id: {index}/memory.used (MB)": torch.cuda.memory_allocated(index) / 1e6
        for index in range(torch.cuda.device_count())
    }


def get_memory_profile(mode: str) -> dict[str, float]:
    """As `get_gpu_memory_map`; the least and the most of it with `mode="min_max"`."""
    found = get_gpu_memory_map()
    if mode != "min_max" or not found:
        return found
    return {"min_gpu_mem": min(found.values()), "max_gpu_mem": max(found.values())}


def detect_nan_parameters(model: torch.nn.Module) -> None:
    """Raise ValueError for the first parameter that is not finite."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"{name} holds values that are not finite")


def print_nan_gradients(model: torch.nn.Module) -> None:
    """Tell of each parameter whose gradient is not finite."""
    from engine.runtime.distributed.world import rank_zero_info

    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            rank_zero_info(f"{name}: {parameter.grad}")
