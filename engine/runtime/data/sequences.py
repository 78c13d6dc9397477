"""Sequences: a batch of long ones cut into parts of a few steps of time each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from engine.runtime.data.samplers import mapped
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch


def split_batch(batch: Batch, size: int) -> list[Any]:
    """Parts of `size` steps of a batch whose second dimension is time.

    Tensors of two and more dimensions are cut along the second; in a list or tuple inside of the
    batch each item is a sequence, cut along its first. Anything else goes whole into each part.
    """
    lengths = sorted(set(_lengths(batch, top=True)))
    if len(lengths) != 1:
        found = f"there are sequences of {lengths} steps" if lengths else "there is no sequence"
        raise MisconfigurationException(
            f"truncated back-propagation cuts a batch along its second dimension, time; in this "
            f"one {found}. Override tbptt_split_batch(batch, split_size) to cut it your way"
        )
    return [_cut(batch, start, start + size, top=True) for start in range(0, lengths[0], size)]


def _is_list(item: Any) -> bool:
    return isinstance(item, (list, tuple))


def _lengths(item: Any, top: bool = False) -> list[int]:
    if isinstance(item, torch.Tensor):
        return [item.shape[1]] if item.dim() > 1 else []
    if isinstance(item, Mapping):
        return [length for value in item.values() for length in _lengths(value)]
    if _is_list(item) and top:
        return [length for value in item for length in _lengths(value)]
    if _is_list(item):
        return [len(one) for one in item if _is_sequence(one)]
    return []


def _is_sequence(item: Any) -> bool:
    return item.dim() > 0 if isinstance(item, torch.Tensor) else _is_list(item)


def _cut(item: Any, start: int, stop: int, top: bool = False) -> Any:
    if isinstance(item, torch.Tensor):
        return item[:, start:stop] if item.dim() > 1 else item
    if isinstance(item, Mapping) or (_is_list(item) and top):
        return mapped(item, lambda value: _cut(value, start, stop))
    if _is_list(item):
        return mapped(item, lambda one: one[start:stop] if _is_sequence(one) else one)
    return item
