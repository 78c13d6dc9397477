"""Everything that a trial could change, kept in memory and put back to the last bit.

Objects stay the same objects: a list that was appended to is shortened again, a parameter gets its
old memory with its old numbers. So an optimizer or a dataset that holds one of them never notices.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

from engine.runtime.seed import random_state, set_random_state

Undo = Callable[[], None]
_FOREIGN = {"builtins", "torch", "engine"}
_ATOMS = {bool, int, float, complex, str, bytes, type(None)}
LARGE = 2**30  # bytes; a tensor above that, which is no weight and no buffer, is data
# Their attributes are always looked into.
_OURS = (torch.nn.Module, Sampler, torch.optim.Optimizer, LRScheduler)


class Snapshot:
    """The state of some objects and of all that they hold, and of what draws at random.

    Looked into are modules, containers, samplers, and objects of the classes of the package that
    one of `roots` is of; datasets are not, nor is anything of the classes `skip`, nor large arrays.
    `restore` may be called several times.
    """

    def __init__(self, roots: Iterable[Any], skip: tuple[type, ...] = ()) -> None:
        self._skip = (*skip, Dataset, type)
        self._roots = [root for root in roots if root is not None]
        self._packages = {_package(root) for root in self._roots} - _FOREIGN
        self._seen: dict[int, Any] = {}  # holds the objects, so that no id is used again
        self._undo: list[Undo] = []
        self._buffers: set[int] = set()
        for root in self._roots:
            self._walk(root)
        self._random = random_state()

    def restore(self) -> None:
        """Put everything back."""
        for undo in self._undo:
            undo()
        set_random_state(self._random)

    def _walk(self, start: Any) -> None:
        waiting = [start]
        while waiting:
            value = waiting.pop()
            if id(value) in self._seen or isinstance(value, self._skip):
                continue
            self._seen[id(value)] = value
            members, undo = self._look_at(value)
            waiting.extend(member for member in members if type(member) not in _ATOMS)
            if undo is not None:
                self._undo.append(undo)

    def _look_at(self, value: Any) -> tuple[Iterable[Any], Undo | None]:
        """What `value` holds, and what puts it back."""
        if isinstance(value, torch.Tensor):
            is_state = isinstance(value, torch.nn.Parameter) or id(value) in self._buffers
            return _of_tensor(value) if is_state or value.nbytes <= LARGE else ((), None)
        if isinstance(value, dict):
            return _of_dict(value)
        if isinstance(value, (list, deque, set)):
            return _of_collection(value)
        if isinstance(value, (tuple, frozenset)):
            return list(value), None
        undo = _of_generator(value)
        if undo is not None:
            return (), undo
        if isinstance(value, DataLoader):
            return [value.sampler, value.batch_sampler, value.generator], None
        if isinstance(value, torch.nn.Module):
            self._buffers |= {id(buffer) for buffer in value.buffers(recurse=False)}
        if isinstance(value, _OURS) or _package(value) in self._packages:
            return _of_object(value)
        return (), None


def _package(value: Any) -> str:
    return type(value).__module__.split(".")[0]


def _of_tensor(value: torch.Tensor) -> tuple[Iterable[Any], Undo | None]:
    if value.is_inference() or value.is_meta:
        return (), None
    memory = value.data
    # Off the device: a search for the largest batch must not find less room for it. All of the
    # memory behind a view: it may be laid out in any way.
    if memory.layout is torch.strided:
        put_back = _of_storage(memory.untyped_storage())
    else:
        numbers = memory.clone()
        put_back = partial(_ignore, None)
    needs_grad, grad = value.requires_grad, value.grad if value.is_leaf else None

    def undo() -> None:
        put_back()
        value.data = memory if memory.layout is torch.strided else numbers.clone()
        if value.is_leaf:
            value.requires_grad = needs_grad
            value.grad = grad

    return [] if grad is None else [grad], undo


def _of_storage(storage: torch.UntypedStorage) -> Undo:
    copied = storage.clone if storage.device.type == "cpu" else storage.cpu
    kept = copied()  # type: ignore[no-untyped-call]  # torch

    def undo() -> None:
        storage.copy_(kept)

    return undo


def _of_dict(value: dict[Any, Any]) -> tuple[Iterable[Any], Undo]:
    kept = list(value.items())

    def undo() -> None:
        value.clear()
        value.update(kept)

    return [*value.keys(), *value.values()], undo


def _of_collection(value: Any) -> tuple[Iterable[Any], Undo]:
    kept = list(value)

    def undo() -> None:
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(kept)

    return kept, undo


def _of_generator(value: Any) -> Undo | None:
    """What puts something back that draws at random; None for anything else."""
    if isinstance(value, torch.Generator):
        drawn = value.get_state()
        return lambda: _ignore(value.set_state(drawn))
    if isinstance(value, random.Random):
        state = value.getstate()
        return lambda: value.setstate(state)
    if isinstance(value, np.random.RandomState):
        legacy = value.get_state()
        return lambda: value.set_state(legacy)
    if isinstance(value, np.random.Generator):
        bits, numbers = value.bit_generator, value.bit_generator.state
        return lambda: setattr(bits, "state", numbers)
    if isinstance(value, np.ndarray) and _is_small_and_written(value):
        copied = value.copy()
        return lambda: np.copyto(value, copied)
    return None


def _is_small_and_written(array: Any) -> bool:
    is_file = isinstance(array, np.memmap)
    return not is_file and array.flags.writeable and array.nbytes <= LARGE and array.dtype != object


def _ignore(_: Any) -> None:
    return None


def _of_object(value: Any) -> tuple[Iterable[Any], Undo | None]:
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict):
        return (), None
    members, undo = _of_dict(attributes)
    return members, undo
