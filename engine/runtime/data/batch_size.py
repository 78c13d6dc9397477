"""How many samples a batch has: the weight of its values in the mean of an epoch.

A batch shows it by its parts: the first dimension of tensors and arrays, lists with one item a
sample, the number that a batch of graphs or a packed sequence tells. Only shapes are looked at:
nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch

_DEEPEST = 5  # levels of parts within parts
_MOST = 16  # items of a list that are looked at: the others are like them
_PLAIN = (str, bytes, int, float, complex, type(None))
_CONTAINERS = (Mapping, list, tuple)
_NOTHING = -1  # what shows no number of samples, unlike an empty batch

Part = tuple[tuple[Any, ...], int]  # where it lies in the batch, and the number that it shows


class Found(NamedTuple):
    """The number of samples of a batch, and why it can't be relied on, if so."""

    samples: int
    doubt: str = ""


class _Likeness(NamedTuple):
    """What the last batch of a type was like: a number of parts, and one that shows the number."""

    parts: int  # 0 where they can't be counted
    shown: Callable[[Any], int | None]
    found: Found

    def fits(self, batch: Batch) -> bool:
        """Whether a batch of the same type has as many samples."""
        try:
            is_same = self.shown(batch) == self.found.samples
            return is_same and (not self.parts or len(batch) == self.parts)
        except (TypeError, LookupError, AttributeError, RuntimeError):  # it is arranged otherwise
            return False


class Samples:
    """The numbers of samples of the batches of one epoch.

    What holds nothing but tensors is looked through once, and again where the number has changed.
    """

    def __init__(self) -> None:
        self._last: dict[type, _Likeness] = {}
        self._columns: dict[str, int] = {}  # of a loader whose batches are lists

    def of(self, batch: Batch, loader: str = "") -> Found:
        """The number of samples of a batch that came from a loader."""
        last = self._last.get(type(batch))
        if last is not None and last.fits(batch):
            return last.found
        found = samples_of(batch)
        if isinstance(batch, list) and found.samples != len(batch) and not found.doubt:
            columns = self._columns.setdefault(loader, len(batch))
            if columns != len(batch):
                why = f"it is a list of {len(batch)} after one of {columns}; are these samples?"
                return Found(found.samples, why)
        shown = None if found.doubt else _shown_by(batch)
        if shown is not None:
            parts = len(batch) if isinstance(batch, _CONTAINERS) else 0
            self._last[type(batch)] = _Likeness(parts, shown, found)
        return found


def _shown_by(batch: Batch) -> Callable[[Any], int | None] | None:
    """How to read the number of samples off a batch; None where each batch has to be inspected.

    Batches that hold nothing but tensors, or that know their size, are read the same way each time.
    """
    if isinstance(batch, torch.Tensor):
        return len
    if isinstance(batch, _CONTAINERS) and not isinstance(batch, PackedSequence):
        members = _members(batch)
    elif hasattr(batch, "__dict__") and not _told(batch):
        members = vars(batch)
    else:
        return None
    key = next((k for k, item in members.items() if _is_flat(item) and _length(item) > 0), None)
    if key is None or not all(
        _is_flat(item) or isinstance(item, _PLAIN) for item in members.values()
    ):
        return None
    if isinstance(batch, _CONTAINERS):
        return lambda batch: len(batch[key])
    return lambda batch: len(getattr(batch, key))


def samples_of(batch: Batch) -> Found:
    """The number of samples of a batch, by all its parts."""
    for parts in (list(_arrays(batch)), list(_lists(batch))):
        counts = {count for _, count in parts}
        if len(counts) == 1:
            return Found(counts.pop())
        if counts:
            return _of_items(batch) or _differing(parts)
    if isinstance(batch, (*_PLAIN, *_CONTAINERS)) or _is_flat(batch) or _is_graph(batch):
        return Found(1)  # one thing, or nothing but such
    count = len(batch) if hasattr(batch, "__len__") else 0
    return Found(count) if count else Found(1, f"a {type(batch).__name__} does not show it")


def _differing(parts: Sequence[Part]) -> Found:
    first: dict[int, str] = {}
    for where, count in parts:
        first.setdefault(count, ".".join(map(str, where)))
    said = ", ".join(f"{name}: {count}" for count, name in islice(first.items(), 4))
    return Found(parts[0][1], f"its parts differ ({said})")


# ---------------------------------------------------------------------- what shows it


def _arrays(item: Any, where: tuple[Any, ...] = ()) -> Iterator[Part]:
    """The parts that show the number of samples by a first dimension, or tell it."""
    count = _own_count(item)
    if count is not None:
        if count != _NOTHING:
            yield where, count
    elif len(where) < _DEEPEST:
        for key, part in _members(item, is_top=not where).items():
            yield from _arrays(part, (*where, key))


def _own_count(item: Any) -> int | None:
    """What an item shows by itself, which may be nothing; None where its parts may show it."""
    if _is_flat(item):
        return _length(item)
    if isinstance(item, (*_PLAIN, type, torch.nn.Module)):
        return _NOTHING
    if isinstance(item, PackedSequence):
        return int(item.batch_sizes[0])  # torch keeps it in the host's memory
    if isinstance(item, _CONTAINERS):
        return None
    return _told(item) or (_NOTHING if _is_graph(item) else None)


def _is_flat(item: Any) -> bool:
    """Whether this is a tensor, or an array of numpy or of somebody like it."""
    if isinstance(item, torch.Tensor):
        return True
    return hasattr(item, "dtype") and isinstance(getattr(item, "shape", None), tuple)


def _length(item: Any) -> int:
    if isinstance(item, torch.Tensor):
        return item.size(0) if item.dim() else _NOTHING  # one that is nested has no shape
    return int(item.shape[0]) if item.shape else _NOTHING


def _told(item: Any) -> int | None:
    """The number of samples that an object tells, as batches of graphs do."""
    for name in ("num_graphs", "batch_size"):
        count = _attribute(item, name)
        if isinstance(count, tuple) and count:  # of tensordict
            count = count[0]
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return count
    if _attribute(item, "edge_index") is None:
        return None
    starts, owners = _attribute(item, "ptr"), _attribute(item, "batch")
    if isinstance(starts, torch.Tensor) and starts.dim() == 1:
        return len(starts) - 1
    is_here = isinstance(owners, torch.Tensor) and owners.device.type == "cpu"
    return int(owners.max()) + 1 if is_here and len(owners) else None


def _is_graph(item: Any) -> bool:
    """Whether this is one graph, and no batch of them."""
    return _attribute(item, "edge_index") is not None and _attribute(item, "batch") is None


def _attribute(item: Any, name: str) -> Any:
    try:
        return getattr(item, name, None)
    except Exception:  # a property that lacks what it needs
        return None


def _members(item: Any, is_top: bool = True) -> Mapping[Any, Any]:
    """What an item is made of.

    Among the parts of a batch only objects that are made to hold data are looked into.
    """
    if isinstance(item, Mapping):
        return item
    if isinstance(item, (list, tuple)):
        return dict(enumerate(islice(item, _MOST)))
    holds_data = is_dataclass(item) or hasattr(item, "__attrs_attrs__") or hasattr(item, "to")
    if not (is_top or holds_data):
        return {}
    slots = [name for kind in type(item).__mro__ for name in _slots(kind)]
    return {name: _attribute(item, name) for name in [*getattr(item, "__dict__", ()), *slots]}


def _slots(kind: type) -> Iterable[str]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


# ---------------------------------------------------------------------- lists


def _lists(item: Any, where: tuple[Any, ...] = ()) -> Iterator[Part]:
    """The lists with one item a sample, where nothing has a dimension: of words, or of objects."""
    if isinstance(item, (*_PLAIN, torch.Tensor)):
        return
    if isinstance(item, (list, tuple)) and not any(isinstance(i, _CONTAINERS) for i in item):
        if item and not any(isinstance(i, torch.Tensor) for i in item):
            yield where, len(item)
    elif len(where) < _DEEPEST:
        for key, part in _members(item, is_top=not where).items():
            yield from _lists(part, (*where, key))


def _of_items(batch: Batch) -> Found | None:
    """The number of samples where these have dimensions of their own, as images and boxes have.

    Then they lie in lists: one for each column, or one of all samples.
    """
    counts = {_of_columns(batch), _of_list(batch)} - {0}
    return Found(counts.pop()) if len(counts) == 1 else None


def _of_columns(batch: Batch) -> int:
    """The length of the lists that a batch consists of, each of items that are alike."""
    counts, has_list = set(), False
    for column in _members(batch).values():
        if isinstance(column, (list, tuple)) and column:
            if len({(type(one), getattr(one, "ndim", 0)) for one in column}) > 1:
                return 0
            has_list = True
            counts.add(len(column))
        else:
            counts.update(count for _, count in _arrays(column))
    return counts.pop() if has_list and len(counts) == 1 else 0


def _of_list(batch: Batch) -> int:
    """The length of a list of samples: of items whose own parts differ."""
    if not isinstance(batch, list) or len({type(one) for one in batch}) != 1:
        return 0
    differ = any(len({count for _, count in _arrays(one)}) > 1 for one in batch[:_MOST])
    return len(batch) if differ else 0
