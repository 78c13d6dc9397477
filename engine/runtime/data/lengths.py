"""How many batches a loader has, and whether that is known or only promised by its `len()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from engine.runtime.data.combined import CombinedLoader
from engine.runtime.data.samplers import Stripe, Turns

if TYPE_CHECKING:
    from engine.runtime.data.types import Loader

_EXACT: tuple[Any, ...] = (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def is_exact(loader: Loader) -> bool:
    """Whether as many batches come as `len()` says.

    That is so where the length follows from the indices that are read. A stream's length, and that
    of a loader of somebody else's, is what its author says; with several workers that leave out
    incomplete batches torch itself only estimates it.
    """
    if isinstance(loader, (list, tuple)):
        return True
    if isinstance(loader, CombinedLoader):
        return all(is_exact(one) and drawn_length(one) is None for one in loader.flattened)
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    kind = type(loader)
    is_torchs = kind.__iter__ is DataLoader.__iter__ and kind.__len__ is DataLoader.__len__
    return is_torchs and (_is_ours(loader) or _knows_its_length(_order(loader)))


def drawn_length(loader: Loader) -> int | None:
    """The batches of this epoch, once an order of ours has been drawn; None where `len()` is right.

    The sampler that the order is drawn from may have another length than it says.
    """
    if not isinstance(loader, DataLoader) or not _is_ours(loader):
        return None
    order: Any = _order(loader)
    return None if _knows_its_length(order.source) else order.drawn


def _order(loader: DataLoader[Any]) -> Any:
    return loader.sampler if loader.batch_sampler is None else loader.batch_sampler


def _is_ours(loader: DataLoader[Any]) -> bool:
    return isinstance(_order(loader), (Stripe, Turns))


def _knows_its_length(order: Any) -> bool:
    """Whether a sampler is torch's, or one of a class that changes neither order nor length."""
    for kind in _EXACT:
        if isinstance(order, kind):
            its = type(order)
            is_torchs = its.__iter__ is kind.__iter__ and its.__len__ is kind.__len__
            return is_torchs and (kind is not BatchSampler or _knows_its_length(order.sampler))
    return False
