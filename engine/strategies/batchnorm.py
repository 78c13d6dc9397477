"""Batch norm over the joint batch of all ranks, and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional


def synchronise_batchnorm(
    module: torch.nn.Module,
) -> list[tuple[torch.nn.Module, str, torch.nn.Module]]:
    """Replace batch norm layers inside `module`; returns what `restore_batchnorm` needs."""
    replaced = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            is_batchnorm = isinstance(child, torch.nn.modules.batchnorm._BatchNorm)
            if is_batchnorm and not isinstance(child, torch.nn.SyncBatchNorm):
                synced = _synchronised(child)
                synced.train(child.training)
                setattr(parent, name, synced)
                replaced.append((parent, name, child))
    return replaced


def restore_batchnorm(replaced: list[tuple[torch.nn.Module, str, torch.nn.Module]]) -> None:
    """Put the layers back that `synchronise_batchnorm` replaced, with what was learned."""
    for parent, name, original in replaced:
        synced = getattr(parent, name)
        # Parameters are shared between the two; buffers may have been assigned anew.
        original._buffers.update(synced._buffers)
        original.train(synced.training)
        setattr(parent, name, original)


def _synchronised(layer: torch.nn.Module) -> torch.nn.Module:
    synced: torch.nn.Module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(layer)  # type: ignore[no-untyped-call]  # torch
    synced.__class__ = JointBatchNorm
    return synced


class JointBatchNorm(torch.nn.SyncBatchNorm):
    """torch's synchronised batch norm, which refuses CPU tensors, made to work there too."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise over all ranks while training, with running statistics otherwise."""
        if input.is_cuda:
            return super().forward(input)
        if not self.training:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        mean, variance, count = _joint_moments(input)
        if self.running_mean is not None:
            self._update_running(mean.detach(), variance.detach(), count)
        shape = [1, -1] + [1] * (input.dim() - 2)
        output = (input - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            output = output * self.weight.view(shape)
        if self.bias is not None:
            output = output + self.bias.view(shape)
        return output.to(input.dtype)

    def _update_running(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # a plain average over all batches so far
            momentum = 1.0 / float(self.num_batches_tracked)
        unbiased = variance * (count / max(count - 1, 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)


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
