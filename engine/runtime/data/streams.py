"""Data that can only be iterated over, divided among ranks: each reads all, and keeps its part.

Ranks must read the same in the same order, and so must workers that deal with one another. Whatever
the data draws at random while it is read, it draws from a random state that is a function of seed
and epoch, as everywhere else; the rest of the program has its own.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    default_collate,
    default_convert,
    get_worker_info,
)

from engine.runtime.data.division import OF_WORKERS, why_divided, words_in
from engine.runtime.distributed.world import World, rank_zero_info, rank_zero_warn
from engine.runtime.seed import mix
from engine.runtime.torch_internals.torch_parts import forget_iterator

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch, Loader

Opens = Callable[[Any], AbstractContextManager[Iterator[Any]]]
_NOTHING = object()
_OWN = ("_inner", "_ways", "_by_worker", "_seed", "_apart")


class Items(IterableDataset[Any]):
    """A dataset of which a process reads all, and keeps its own: a rank's, and a worker's.

    To whoever asks it for anything else it is the dataset within.
    """

    def __init__(
        self, dataset: Any, rank: int, world_size: int, block: int, by_worker: bool
    ) -> None:
        self._inner = dataset
        self._ways = (rank, world_size, block)
        self._by_worker = by_worker  # the dataset itself divides what it has among workers
        self._seed = torch.zeros((), dtype=torch.int64)
        self._apart = False

    def begin_in_workers(self, seed: int, apart: bool) -> None:
        """What workers draw from now on: those of this epoch, and those that were kept for it.

        `apart` tells that they draw for something else, too, as a collate function may.
        """
        self._seed.share_memory_().fill_(seed)  # type: ignore[no-untyped-call]  # torch
        self._apart = apart

    def __iter__(self) -> Iterator[Batch]:
        info, (rank, world_size, block) = get_worker_info(), self._ways
        worker, workers = (0, 1) if info is None or self._by_worker else (info.id, info.num_workers)
        if world_size == 1:
            mine = blocks(self._inner, block, worker, workers)
        else:
            mine = share(self._inner, rank, world_size, worker, workers)
        if info is None:
            return mine
        draws = Draws(mix(int(self._seed), info.id) if self._by_worker else int(self._seed))
        if self._apart:
            return draws.reading(mine)
        draws.__enter__()
        return mine

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name in _OWN or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _OWN:
            self.__dict__[name] = value
        else:
            setattr(self._inner, name, value)


def share(
    items: Iterable[Any], rank: int, world_size: int, worker: int, workers: int
) -> Iterator[Batch]:
    """One item of each round for each rank, the rounds to workers in turn.

    A round that is not complete is left out: all ranks train on as many.
    """
    mine = None
    for index, item in enumerate(items):
        number, place = divmod(index, world_size)
        if place == rank:
            mine = item
        if place == world_size - 1 and number % workers == worker:
            yield mine


def blocks(items: Iterable[Any], size: int, worker: int, workers: int) -> Iterator[Batch]:
    """So many items in a row to each worker in turn: batches are those of a single process."""
    for index, item in enumerate(items):
        if index // size % workers == worker:
            yield item


class Dealt:
    """A loader whose batches are dealt to the ranks in turn, or whose dataset deals its items.

    In training (`even`) all ranks have as many batches: a round that is not complete is left out.
    """

    def __init__(
        self, loader: Loader, seed: int, rank: int, world_size: int, even: bool, by_worker: bool
    ) -> None:
        self.seed = seed
        self.epoch = 0
        self._place = (rank, world_size)
        self._even = even
        self._by_worker = by_worker
        self._is_stream = is_stream(loader)
        self._by_item = even and self._is_stream
        self._loader = loader
        if isinstance(loader, DataLoader):
            self._loader = copy.copy(loader)
            forget_iterator(self._loader)
        if self._is_stream:
            ways = (rank, world_size, 1) if even else (0, 1, loader.batch_size or 1)
            self._loader.__dict__["dataset"] = Items(loader.dataset, *ways, by_worker)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __len__(self) -> int:
        """The batches of this rank."""
        rank, world_size = self._place
        if self._by_item:
            return self._own_batches()
        total = self._all_batches() if self._is_stream else len(self._loader)
        return total // world_size if self._even else max(0, -(-(total - rank) // world_size))

    def _own_batches(self) -> int:
        """Where only a rank's own items come to its loader: batches of all its workers."""
        rounds = len(self._loader.dataset) // self._place[1]
        workers = max(1, self._loader.num_workers)
        shares = ((rounds - worker + workers - 1) // workers for worker in range(workers))
        return sum(self._batches_of(count) for count in shares)

    def _all_batches(self) -> int:
        count = len(self._loader.dataset)
        if not self._by_worker or self._loader.num_workers < 2 or self._loader.drop_last:
            return self._batches_of(count)
        # Each worker may end with a batch that is not full: as many as there can be.
        return count // (self._loader.batch_size or 1) + int(self._loader.num_workers)

    def _batches_of(self, count: int) -> int:
        size = self._loader.batch_size or 1
        return int(count // size if self._loader.drop_last else -(-count // size))

    def __iter__(self) -> Iterator[Batch]:
        with self.open(_plainly) as batches:
            yield from batches

    @contextmanager
    def open(self, opens: Opens) -> Iterator[Iterator[Any]]:
        """This rank's batches, from a loader that is opened by `opens` and closed afterwards."""
        loader, seed = self._loader, mix(self.seed, self.epoch)
        if isinstance(loader, DataLoader):  # its workers draw alike on all ranks
            loader.generator = torch.Generator().manual_seed(seed)
            if isinstance(loader.dataset, Items) and loader.num_workers:
                apart = loader.collate_fn not in (default_collate, default_convert)
                loader.dataset.begin_in_workers(seed, apart)
        draws = Draws(seed)
        context = opens(loader)
        with draws:
            batches = context.__enter__()
        try:
            in_workers = isinstance(loader, DataLoader) and loader.num_workers > 0
            yield self._mine(batches if in_workers else draws.reading(batches))
        except BaseException as error:
            if not context.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            context.__exit__(None, None, None)

    def _mine(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        rank, world_size = self._place
        if not self._even:
            yield from islice(batches, rank, None, world_size)
            return
        has_any = False
        for batch in batches if self._by_item else complete(batches, rank, world_size):
            has_any = True
            yield batch
        if not has_any:
            what = "samples" if self._by_item else "batches"
            rank_zero_warn(
                f"the training loader has no complete round of {what} for {world_size} ranks: "
                "nothing is trained in this epoch"
            )


def complete(batches: Iterator[Batch], rank: int, world_size: int) -> Iterator[Batch]:
    """A rank's batch of each round that has one for every rank."""
    while True:
        mine = None
        for place in range(world_size):
            batch = next(batches, _NOTHING)
            if batch is _NOTHING:
                return
            if place == rank:
                mine = batch
        yield mine


class Draws:
    """A random state of its own: within, random numbers are drawn from it."""

    def __init__(self, seed: int) -> None:
        self._outer: Any = None
        with self._put_back():
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.default_generator.manual_seed(seed)
            self._own = _states()

    def __enter__(self) -> None:
        self._outer = _states()
        _set_states(self._own)

    def __exit__(self, *_: object) -> None:
        self._own = _states()
        _set_states(self._outer)

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        before = _states()
        yield
        _set_states(before)

    def reading(self, items: Iterator[Any]) -> Iterator[Batch]:
        """The items, each read within."""
        while True:
            with self:
                item = next(items, _NOTHING)
            if item is _NOTHING:
                return
            yield item


def _states() -> tuple[Any, Any, Any]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_states(states: tuple[Any, Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@contextmanager
def _plainly(loader: Loader) -> Iterator[Iterator[Any]]:
    yield iter(loader)


def is_stream(loader: Loader) -> bool:
    """Whether this is torch's loader of data that can only be walked through."""
    return isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset)


def deal(loader: Loader, seed: int, world: World, replace_sampler: bool, even: bool) -> Any:
    """What can only be walked through is dealt to the ranks, unless it is divided already."""
    ranks = world.world_size
    is_ordered = isinstance(loader, DataLoader) and not is_stream(loader)
    if ranks == 1 or not replace_sampler or is_ordered:
        return loader
    read = (loader.dataset, loader.worker_init_fn) if is_stream(loader) else (loader,)
    words, kind = words_in(*read), type(read[0]).__name__
    reason = why_divided(read, words)
    if reason:
        say(f"engine: each of the {ranks} ranks reads {kind} as it is, since {reason}{_CHOICE}")
        return loader
    by_worker = bool(words & OF_WORKERS)
    what = "sample" if even and is_stream(loader) else "batch"
    say(
        f"engine: {kind} is divided among {ranks} ranks: each reads all of it and keeps one {what} "
        f"in {ranks}. It is faster if the data reads its rank's share only, by "
        f"torch.distributed.get_rank() and get_world_size(){_CHOICE}"
    )
    return Dealt(loader, seed, world.rank, ranks, even, by_worker)


_CHOICE = (
    "; use_distributed_sampler=False (replace_sampler_ddp=False in 1.x) lets each rank read all of "
    "it, and ends this line"
)


@functools.cache
def say(line: str) -> None:
    """Once a process."""
    rank_zero_info(line)
