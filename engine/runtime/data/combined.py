"""Several loaders as one: a batch is a dict, list or tuple of batches, as they were given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from engine.runtime.data import samplers
from engine.runtime.errors import MisconfigurationException
from engine.runtime.seed import mix

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch, Loader, Loaders

MODES = ("max_size_cycle", "min_size", "max_size", "sequential")
# A loader that begins anew within an epoch draws another order: that of an epoch nobody gets to.
_CYCLE = 1_000_000
_NOTHING = object()

Opens = Callable[[Any], AbstractContextManager[Iterator[Any]]]


class CombinedLoader:
    """Loaders that are read together; `loaders` is a dict, list or tuple of them, also nested.

    max_size_cycle ends with the longest, shorter ones begin anew; min_size ends with the shortest;
    max_size ends with the longest, shorter ones give None; sequential is one after the other.
    """

    def __init__(self, loaders: Loaders, mode: str = "min_size") -> None:
        if mode not in MODES:
            raise MisconfigurationException(
                f"several loaders are combined by one of {', '.join(MODES)}, not {mode!r}"
            )
        self.loaders = loaders
        self.mode = mode
        self._began: list[tuple[int, int, int]] = []  # seed, epoch and rank of each

    @property
    def iterables(self) -> Any:
        """The loaders, by the name of 2.x."""
        return self.loaders

    @property
    def flattened(self) -> list[Any]:
        """All loaders in a list."""
        return leaves(self.loaders)

    def __len__(self) -> int:
        lengths = [samplers.length(loader) for loader in self.flattened]
        if self.mode == "sequential":
            total = sum(lengths)
        else:
            total = min(lengths) if self.mode == "min_size" else max(lengths)
        if total == float("inf"):
            raise TypeError("a loader among these does not say how long it is")
        return int(total)

    def __iter__(self) -> Iterator[Batch]:
        with self.open(_plainly) as batches:
            yield from batches

    def mapped(self, function: Callable[[int, Any], Any]) -> CombinedLoader:
        """The same with `function(index, loader)` in the place of each loader."""
        members = (_mapped(function, index, one) for index, one in enumerate(self.flattened))
        return CombinedLoader(rebuilt(self.loaders, members), self.mode)

    def begin_epoch(self, seed: int, epoch: int, rank: int, start: int = 0) -> bool:
        """Set all to batch `start` of an epoch, or to its first where one can't start elsewhere."""
        members = self.flattened
        self._began = [(own_seed(seed, i), epoch, rank) for i in range(len(members))]
        can_start = [self._begin_at(index, start) for index in range(len(members))]
        if start and not all(can_start):
            self.begin_epoch(seed, epoch, rank)
        return all(can_start)

    def _begin_at(self, index: int, start: int) -> bool:
        member = self.flattened[index]
        length = samplers.length(member)
        is_known = 0 < length < float("inf")
        rounds, start = divmod(start, int(length)) if is_known else (0, start)
        seed, epoch, rank = self._began[index]
        self._began[index] = (seed, epoch + rounds * _CYCLE, rank)
        return begin_epoch(member, *self._began[index], start)

    def _begin_again(self, index: int) -> None:
        if self._began:  # the engine reads it, and not somebody else
            seed, epoch, rank = self._began[index]
            self._began[index] = (seed, epoch + _CYCLE, rank)
            begin_epoch(self.flattened[index], *self._began[index])

    @contextmanager
    def open(self, opens: Opens) -> Iterator[Iterator[Any]]:
        """The batches, with each loader opened by `opens` and closed when it is done."""
        with ExitStack() as stack:
            slots = [stack.enter_context(ExitStack()) for _ in self.flattened]
            yield self._batches(slots, opens)

    def _batches(self, slots: list[ExitStack], opens: Opens) -> Iterator[Batch]:
        members = self.flattened
        if self.mode == "sequential":
            for member, slot in zip(members, slots, strict=True):
                yield from slot.enter_context(opens(member))
            return

        def begin(index: int) -> Iterator[Batch]:
            slots[index].close()
            return slots[index].enter_context(opens(members[index]))

        iterators = [begin(index) for index in range(len(members))]
        is_done = [False] * len(members)
        while members:
            items: list[Any] = []
            for index in range(len(members)):
                item = next(iterators[index], _NOTHING)
                if item is _NOTHING:
                    is_done[index] = True
                    if self.mode == "min_size" or all(is_done):
                        return
                    item = None
                    if self.mode == "max_size_cycle":
                        self._begin_again(index)
                        iterators[index] = begin(index)
                        item = next(iterators[index], _NOTHING)
                        if item is _NOTHING:
                            raise MisconfigurationException(
                                f"loader {index} of {len(members)} has no batch at all"
                            )
                items.append(item)
            yield rebuilt(self.loaders, iter(items))


def _mapped(function: Callable[[int, Any], Any], index: int, loader: Loader) -> Any:
    """`function` of a loader; of each of those in it, where it combines some by itself."""
    if isinstance(loader, CombinedLoader):
        return loader.mapped(lambda inner, one: function(1000 * (index + 1) + inner, one))
    return function(index, loader)


@contextmanager
def _plainly(loader: Loader) -> Iterator[Iterator[Any]]:
    yield iter(loader)


def combined(loaders: Loaders, mode: str) -> Any:
    """A dict, list or tuple of loaders as one; anything else as it is."""
    if isinstance(loaders, Mapping) or holds_loaders(loaders):
        return CombinedLoader(loaders, mode)
    return loaders


def is_loader(item: object) -> bool:
    """Whether this is a loader of itself, and no list of batches."""
    return isinstance(item, (DataLoader, CombinedLoader)) or hasattr(item, "dataset")


def holds_loaders(item: object) -> bool:
    """Whether this has loaders in it, and is not a list of batches."""
    if not isinstance(item, (Mapping, list, tuple)):
        return False
    members = item.values() if isinstance(item, Mapping) else item
    return any(is_loader(one) or holds_loaders(one) for one in members)


def leaves(loaders: Loaders, is_top: bool = True) -> list[Any]:
    """The loaders of a container, however nested."""
    if not (is_top or holds_loaders(loaders)):
        return [loaders]
    items = loaders.values() if isinstance(loaders, Mapping) else loaders
    return [leaf for item in items for leaf in leaves(item, is_top=False)]


def rebuilt(loaders: Loaders, items: Iterator[Any], is_top: bool = True) -> Any:
    """A container like that of the loaders, with an item for each."""
    if not (is_top or holds_loaders(loaders)):
        return next(items)
    return samplers.mapped(loaders, lambda member: rebuilt(member, items, is_top=False))


def begin_epoch(loader: Loader, seed: int, epoch: int, rank: int, start: int = 0) -> bool:
    """Set a loader, or all of several, to batch `start` of an epoch.

    Returns whether it begins there by itself; if not, the caller skips batches.
    """
    if isinstance(loader, CombinedLoader):
        return loader.begin_epoch(seed, epoch, rank, start)
    return samplers.begin_epoch(loader, seed, epoch, rank, start)


def own_seed(seed: int, index: int) -> int:
    """The seed of one loader among several: no two draw alike."""
    return mix(seed, index) if index else seed


def each(loader: Loader, function: Callable[[int, Any], Any]) -> Any:
    """`function(index, loader)` of a loader, or of each among several."""
    return loader.mapped(function) if isinstance(loader, CombinedLoader) else function(0, loader)
