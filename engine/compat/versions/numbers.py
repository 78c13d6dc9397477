"""The distance from one to the next number, in three precisions."""

from __future__ import annotations

import torch

FLOAT16_EPSILON = torch.finfo(torch.float16).eps
FLOAT32_EPSILON = torch.finfo(torch.float32).eps
FLOAT64_EPSILON = torch.finfo(torch.float64).eps


def multiplicative(epoch: int) -> float:
    """How much larger a thawed layer's rate is than that of an epoch before."""
    return 2.0
