"""What tensors are on all ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from engine.runtime.data.apply import apply_to_collection


def all_gather(data: Any, device: torch.device, group: Any = None, sync_grads: bool = False) -> Any:
    """`data` with each tensor of all ranks stacked in rank order; alone, as it is.

    Numbers become tensors. Every rank calls it, with tensors of one shape. With `sync_grads`
    gradients flow back to the rank that a tensor came from, added up over the ranks.
    """
    data = apply_to_collection(data, (bool, int, float), torch.tensor, device=device)
    if not dist.is_initialized() or dist.get_world_size(group) == 1:
        return data

    def gathered(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.contiguous()
        if sync_grads and tensor.requires_grad and torch.is_grad_enabled():
            from torch.distributed.nn import functional

            return torch.stack(functional.all_gather(tensor, group or dist.group.WORLD))  # type: ignore[no-untyped-call]  # torch
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, tensor.detach(), group)
        return torch.stack(parts)

    return apply_to_collection(data, torch.Tensor, gathered)
