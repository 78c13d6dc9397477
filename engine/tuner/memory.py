"""Running out of memory: how it shows, on every device, and how to clean up after it."""

from __future__ import annotations

import gc

import torch

_WORDS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # DefaultCPUAllocator
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_SUPPORTED",  # what cuDNN says where no algorithm has room enough
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was no room for something."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def make_room() -> None:
    """Give back all memory that nobody uses."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch
        torch.cuda.empty_cache()
