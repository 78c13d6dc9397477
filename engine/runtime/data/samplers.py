"""Batches: who reads which samples in which order, and how they get to the device.

The order of a training epoch is a pure function of (seed, epoch); ranks read stripes of it, and a
run can begin at any position. Evaluation deals whole batches to the ranks in turn: each sample is
seen once, by one rank, in the very batch that one process would have made.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
)

from engine.runtime.data.division import OF_RANKS, words_in
from engine.runtime.data.streams import Dealt, deal, say
from engine.runtime.distributed.world import World
from engine.runtime.errors import MisconfigurationException
from engine.runtime.seed import mix
from engine.runtime.torch_internals.torch_parts import set_order

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch, Loader

# ---------------------------------------------------------------------- the order of samples


def drawn(source: Iterable[Any], seed: int, epoch: int) -> Sequence[Any]:
    """All that a sampler gives in one epoch, as a pure function of `seed` and `epoch`.

    Samplers draw from torch's global generator or from one of their own: both are set for the
    draw and put back after it.
    """
    if isinstance(source, SequentialSampler):
        return range(len(source))
    generator = getattr(source, "generator", None)
    if isinstance(generator, torch.Generator):
        before = generator.get_state()
        generator.manual_seed(mix(generator.initial_seed(), epoch))
        indices = list(source)
        # manual_seed also changes initial_seed, which set_state puts back.
        generator.set_state(before)
        return indices
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, epoch))
        return list(source)


@dataclass(frozen=True)
class Padding:
    """A batch that some ranks repeat a sample for, so that all ranks have as many batches."""

    batch_idx: int
    ranks: int  # that have samples of their own there
    is_mine: bool  # this rank has none


class Stripe:
    """The batches of one rank in a training epoch.

    Every rank has the same number of batches, since each waits for the others' gradients. Where
    the last round has fewer samples than ranks, the ranks left over repeat one (`padding` tells
    which batch that is), unless `even` is off.
    """

    def __init__(
        self, source: Any, size: int, drop_last: bool, seed: int, rank: int, world_size: int
    ) -> None:
        self.even = True
        self.source = source
        self.batch_size = size
        self.drop_last = drop_last
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0
        self.samples = 0  # of the present epoch on all ranks, which a sampler may only estimate
        self.drawn = 0  # batches of the present epoch

    def __len__(self) -> int:
        return self._count(len(self.source))

    def _count(self, total: int) -> int:
        return self._batches_of(0 if self.even else self.rank, total)

    def _batches_of(self, rank: int, total: int) -> int:
        """The batches with samples of a rank's own; no rank has more of them than rank zero."""
        if self.drop_last:
            return int(total // self.world_size // self.batch_size)
        return math.ceil(math.ceil((total - rank) / self.world_size) / self.batch_size)

    @property
    def padding(self) -> Padding | None:
        """The batch, always the last, that some ranks have only to keep step."""
        total, count = self.samples or len(self.source), self.drawn or len(self)
        ranks = sum(self._batches_of(rank, total) >= count for rank in range(self.world_size))
        if not self.even or ranks == self.world_size:
            return None
        return Padding(count - 1, ranks, self._batches_of(self.rank, total) < count)

    def __iter__(self) -> Iterator[list[Any]]:
        order = drawn(self.source, self.seed, self.epoch)
        mine = list(order[self.rank :: self.world_size])
        self.samples = len(order)
        count = self.drawn = int(min(length(self), self._count(self.samples)))
        if not count:
            return
        if math.ceil(len(mine) / self.batch_size) < count:
            mine.append(order[self.rank % len(order)])
        for batch in range(self.start, count):
            yield mine[batch * self.batch_size : (batch + 1) * self.batch_size]


class Turns:
    """Every `world_size`-th item of `source`, beginning with the rank's own."""

    def __init__(
        self, source: Any, seed: int, rank: int, world_size: int, even: bool = False
    ) -> None:
        self.source = source
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.even = even  # all ranks have as many items as the poorest
        self.epoch = 0
        self.start = 0
        self.drawn = 0  # items of the present epoch, which a sampler may only estimate

    def __len__(self) -> int:
        return self._count(len(self.source))

    def _count(self, total: int) -> int:
        if self.even:
            return int(total // self.world_size)
        return max(0, -(-(total - self.rank) // self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        source = self.source
        inner = getattr(source, "sampler", None)
        in_sequence = isinstance(source, BatchSampler) and isinstance(inner, SequentialSampler)
        if not in_sequence:
            source = drawn(source, self.seed, self.epoch)
        stop = None
        if self.even:
            self.drawn = int(min(length(self), self._count(len(source))))
            stop = self.drawn * self.world_size
        return islice(source, self.rank + self.start * self.world_size, stop, self.world_size)


def for_training(loader: Loader, seed: int, world: World, replace_sampler: bool) -> Any:
    """The loader with an order of ours: shuffled or not as the user's, striped over ranks."""
    if not _is_ours_to_order(loader, world, replace_sampler):
        return deal(loader, seed, world, replace_sampler, even=True)
    rank, size = world.rank, world.world_size
    batches = loader.batch_sampler
    if batches is None:
        return _with_order(loader, "sampler", Turns(loader.sampler, seed, rank, size, even=True))
    if type(batches) is BatchSampler:
        order: Any = Stripe(
            batches.sampler, batches.batch_size, batches.drop_last, seed, rank, size
        )
    else:
        order = Turns(batches, seed, rank, size, even=True)
    return _with_order(loader, "batch_sampler", order)


def for_evaluation(loader: Loader, seed: int, world: World, replace_sampler: bool) -> Any:
    """The loader with this rank's share of the batches, none twice and none left out."""
    if not _is_ours_to_order(loader, world, replace_sampler):
        if replace_sampler and world.world_size > 1:
            loader = _without_repeats(loader)
        return deal(loader, seed, world, replace_sampler, even=False)
    if world.world_size == 1:
        return loader
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    order = Turns(getattr(loader, name), seed, world.rank, world.world_size)
    return _with_order(loader, name, order)


class Own:
    """What a DistributedSampler gives to its rank, without what it repeats at the end."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.set_epoch = sampler.set_epoch

    def __len__(self) -> int:
        total, sampler = len(self.sampler.dataset), self.sampler
        if sampler.drop_last:
            return int(sampler.num_samples)
        return int(max(0, -(-(total - sampler.rank) // sampler.num_replicas)))

    def __iter__(self) -> Iterator[Batch]:
        return islice(iter(self.sampler), len(self))


def _without_repeats(loader: Loader) -> Any:
    """In evaluation a sample counts once, also where a DistributedSampler is the user's own."""
    batches = getattr(loader, "batch_sampler", None)
    if not isinstance(loader, DataLoader) or type(loader.sampler) is not DistributedSampler:
        return loader
    own = Own(loader.sampler)
    if batches is None:
        return _with_order(loader, "sampler", own)
    if type(batches) is not BatchSampler or batches.sampler is not loader.sampler:
        return loader
    order = BatchSampler(own, batches.batch_size, batches.drop_last)
    return _with_order(loader, "batch_sampler", order)


def in_sequence(loader: Loader) -> Any:
    """The loader without shuffling, as `overfit_batches` wants it."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    sampler = SequentialSampler(loader.dataset)  # type: ignore[arg-type]  # it has a length
    if type(loader.batch_sampler) is BatchSampler:
        sampler = BatchSampler(sampler, loader.batch_sampler.batch_size, loader.drop_last)  # type: ignore[assignment]  # torch has no common type of the two
        return _with_order(loader, "batch_sampler", sampler)
    return _with_order(loader, "sampler", sampler) if loader.batch_sampler is None else loader


def once_more(loader: Loader) -> Any:
    """A loader of the same batches, from the first on, for a loop within the loop over these.

    That loop evaluates: what was only repeated to keep step is left out.
    """
    for name in ("batch_sampler", "sampler"):
        order = getattr(loader, name, None)
        if isinstance(order, (Stripe, Turns)):
            order = copy.copy(order)
            order.start = 0
            if isinstance(order, Stripe):
                order.even = False
            return _with_order(loader, name, order)
    return loader


def padding_of(loader: Loader) -> Padding | None:
    """The batch of a training epoch that some ranks have only to keep step, if there is one.

    Of several loaders they must all have it in the same batch.
    """
    orders = [getattr(x, "batch_sampler", None) for x in getattr(loader, "flattened", [loader])]
    found = {order.padding if isinstance(order, Stripe) else None for order in orders}
    return found.pop() if len(found) == 1 else None


def _is_ours_to_order(loader: Loader, world: World, replace_sampler: bool) -> bool:
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    if not replace_sampler:
        return False
    samplers = (
        loader.sampler,
        loader.batch_sampler,
        getattr(loader.batch_sampler, "sampler", None),
    )
    if any(isinstance(sampler, DistributedSampler) for sampler in samplers):
        return False
    asks = [x for x in samplers if world.world_size > 1 and words_in(x) & OF_RANKS]
    if asks:
        say(f"engine: {type(asks[0]).__name__} asks for its rank by itself, so it is used as it is")
    return not asks


def _with_order(loader: Loader, name: str, order: Any) -> Any:
    # A shallow copy with one attribute set keeps all else, whatever subclass it is and however that
    # is constructed.
    loader = copy.copy(loader)
    set_order(loader, name, order)
    return loader


def begin_epoch(loader: Loader, seed: int, epoch: int, rank: int, start: int = 0) -> bool:
    """Set a loader to the beginning of an epoch, or to batch `start` of it.

    Returns whether the order is ours, so that the loader begins at `start` by itself; if not, the
    caller skips batches.
    """
    can_start = False
    if isinstance(loader, Dealt):
        loader.epoch = epoch
    batches = getattr(loader, "batch_sampler", None)
    orders = (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    for order in orders:
        if isinstance(order, (Stripe, Turns)):
            order.epoch, order.start, can_start = epoch, start, True
        elif callable(getattr(order, "set_epoch", None)):
            order.set_epoch(epoch)  # type: ignore[union-attr]  # asked for in the line above
    if can_start and isinstance(loader, DataLoader):
        # Workers are seeded from here: by seed, epoch and rank, not by what was drawn before. Those
        # that begin in the middle of an epoch don't draw again what its first batches have drawn.
        numbers = (seed, epoch, rank + 1, start) if start else (seed, epoch, rank + 1)
        loader.generator = torch.Generator().manual_seed(mix(*numbers))
    for data in (loader, getattr(loader, "dataset", None)):
        set_epoch = getattr(data, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)
    return can_start


def loaders_of(data: Any, batch_size: int, num_workers: int, shuffle: bool) -> Any:
    """A loader of each dataset, in the same arrangement: one, a list or a dict."""
    if isinstance(data, Mapping):
        return {k: loaders_of(v, batch_size, num_workers, shuffle) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [loaders_of(item, batch_size, num_workers, shuffle) for item in data]
    is_ordered = shuffle and not isinstance(data, IterableDataset)
    return DataLoader(data, batch_size, shuffle=is_ordered, num_workers=num_workers)


# ---------------------------------------------------------------------- how many batches


def length(loader: Loader) -> int | float:
    """Number of batches, infinity where the loader does not say."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return float("inf")


def limited(total: int | float, limit: int | float, name: str) -> int | float:
    """Number of batches under a limit: a float is a share of all, an int a number."""
    if isinstance(limit, int):
        return min(total, limit)
    if limit == 1.0 or limit == 0.0:
        return total if limit else 0
    if total == float("inf"):
        raise MisconfigurationException(
            f"{name}={limit} is a share of a loader whose length is unknown; give a number of "
            "batches (an int)"
        )
    return int(total * limit)


# ---------------------------------------------------------------------- to the device


def needs_move(device: torch.device) -> bool:
    """Whether batches can lie anywhere else than on `device`."""
    return device.type != "cpu" or torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch


def move(batch: Batch, device: torch.device) -> Any:
    """The batch with all its tensors, however nested, on `device`."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if callable(getattr(batch, "to", None)):  # a batch class of the user's or a tokenizer's
        return batch.to(device)
    return mapped(batch, lambda item: move(item, device))


def with_type(batch: Batch, dtype: torch.dtype) -> Any:
    """The batch with all numbers that float, however nested, of one type."""
    if isinstance(batch, torch.Tensor):
        return batch.to(dtype) if batch.is_floating_point() else batch
    return mapped(batch, lambda item: with_type(item, dtype))


def mapped(batch: Batch, function: Callable[[Any], Any]) -> Any:
    """A container of the same kind with `function` of every member; anything else as it is."""
    if isinstance(batch, (str, bytes)):
        return batch
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(function(item) for item in batch))
    if isinstance(batch, (list, tuple, set)):
        items = [function(item) for item in batch]
        return items if type(batch) is list else _rebuilt(batch, items)
    if isinstance(batch, Mapping):
        changed = {key: function(item) for key, item in batch.items()}
        return changed if type(batch) is dict else _rebuilt(batch, changed)
    if is_dataclass(batch) and not isinstance(batch, type):
        changed = {f.name: function(getattr(batch, f.name)) for f in fields(batch) if f.init}
        return replace(batch, **changed)
    return batch


def _rebuilt(original: Any, items: Any) -> Any:
    if hasattr(original, "default_factory"):  # a defaultdict takes its factory first
        return type(original)(original.default_factory, items)
    return type(original)(items)
