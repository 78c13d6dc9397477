"""Looking at loaders and batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset

from engine.runtime.data.samplers import length


def has_iterable_dataset(loader: Any) -> bool:
    """Whether a loader's data can only be walked through."""
    return isinstance(getattr(loader, "dataset", None), IterableDataset)


def has_len(loader: Any) -> bool:
    """Whether the number of batches is known."""
    return length(loader) != float("inf")


def has_len_all_ranks(loader: Any, *_: Any, **__: Any) -> bool:
    """Whether the number of batches is known."""
    return has_len(loader)


def get_len(loader: Any) -> int | float:
    """The number of batches; infinity where that is not known."""
    return length(loader)


def extract_batch_size(batch: Any) -> int:
    """The first dimension of the first tensor in a batch."""
    found = next(_sizes(batch), None)
    if found is None:
        raise ValueError("there is no tensor in the batch: give batch_size to self.log")
    return found


def _sizes(batch: Any) -> Iterator[int]:
    if isinstance(batch, torch.Tensor):
        yield 1 if batch.ndim == 0 else batch.shape[0]
    elif isinstance(batch, str):
        yield len(batch)
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _sizes(value)
    elif isinstance(batch, Iterable):
        for value in batch:
            yield from _sizes(value)


def suggested_max_num_workers(local_world_size: int) -> int:
    """Processors for each rank of a node, less one for itself."""
    if local_world_size < 1:
        raise ValueError(f"there is at least one rank, not {local_world_size}")
    return max(1, len(os.sched_getaffinity(0)) // local_world_size - 1)
