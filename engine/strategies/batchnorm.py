"""Batch norm over the joint batch of all ranks, and back.

On GPUs the layers are replaced by torch's own. That one refuses CPU tensors, so there the layers
stay and only their `forward` is another one while the fit lasts.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.distributed as dist

from engine.runtime.torch_internals.torch_parts import BatchNorm

Replaced = list[tuple[torch.nn.Module, str, torch.nn.Module]]


def synchronise_batchnorm(module: torch.nn.Module, device: torch.device) -> Replaced:
    """Make batch norm layers inside `module` joint; returns what `restore_batchnorm` needs."""
    replaced: Replaced = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, BatchNorm) or isinstance(child, torch.nn.SyncBatchNorm):
                continue
            replaced.append((parent, name, child))
            if device.type == "cuda":
                synced = torch.nn.SyncBatchNorm.convert_sync_batchnorm(child)  # type: ignore[no-untyped-call]  # torch
                setattr(parent, name, synced)
            else:
                child.__dict__["forward"] = MethodType(_joint_forward, child)
    return replaced


def restore_batchnorm(replaced: Replaced) -> None:
    """Put the layers back that `synchronise_batchnorm` changed, with what was learned."""
    for parent, name, original in replaced:
        original.__dict__.pop("forward", None)
        present = getattr(parent, name)
        if present is not original:
            # Parameters are shared between the two; buffers may have been assigned anew.
            for buffer, value in present.named_buffers(recurse=False):
                setattr(original, buffer, value)
            original.train(present.training)
            setattr(parent, name, original)


def _joint_forward(self: BatchNorm, input: torch.Tensor) -> torch.Tensor:
    """Normalise over all ranks while training, with running statistics otherwise."""
    if not self.training:
        return type(self).forward(self, input)
    self._check_input_dim(input)  # type: ignore[no-untyped-call]  # torch
    mean, variance, count = _joint_moments(input)
    if self.running_mean is not None:
        _update_running(self, mean.detach(), variance.detach(), count)
    shape = [1, -1] + [1] * (input.dim() - 2)
    output = (input - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
    if self.affine:
        output = output * self.weight.view(shape) + self.bias.view(shape)
    return output.to(input.dtype)


def _update_running(
    layer: BatchNorm, mean: torch.Tensor, variance: torch.Tensor, count: int
) -> None:
    assert layer.running_mean is not None and layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    momentum = layer.momentum
    if momentum is None:  # a plain average over all batches so far
        momentum = 1.0 / float(layer.num_batches_tracked)
    unbiased = variance * (count / max(count - 1, 1))
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
    layer.running_var.lerp_(unbiased.to(layer.running_var.dtype), momentum)


def _joint_moments(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean and biased variance of each channel over all ranks, and the number of values."""
    # In 64 bits the sum of squares loses nothing that 32 bits would have kept.
    values = input.double().transpose(0, 1).flatten(1)
    here = torch.full((1,), float(values.shape[1]), dtype=torch.float64, device=input.device)
    sums = _SumOverRanks.apply(torch.cat([values.sum(1), values.square().sum(1), here]))  # type: ignore[no-untyped-call]  # torch
    channels = values.shape[0]
    count = int(sums[-1].detach())
    mean = sums[:channels] / count
    variance = (sums[channels : 2 * channels] / count - mean.square()).clamp(min=0.0)
    return mean.to(input.dtype), variance.to(input.dtype), count


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        # Every rank's output depends on every rank's input: gradients add up just the same.
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
