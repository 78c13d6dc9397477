"""Whether data that can only be walked through is divided among ranks already.

A dataset that asks for its rank, or that the program made with other files on each rank, must be
left alone: what is divided twice is lost. So it is looked at, in two ways: at the names in the code
that runs when it is read, and at what it holds, which all ranks compare.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from functools import partial
from inspect import getattr_static
from io import IOBase
from itertools import islice
from pathlib import PurePath
from types import CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, IterDataPipe

from engine.runtime.distributed.world import gather_all
from engine.runtime.torch_internals.torch_parts import ITERATOR

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch

# Names and texts in the code of what divides itself among ranks, and among workers.
OF_RANKS = frozenset(
    (
        *("get_rank", "get_world_size", "get_global_rank", "get_local_rank"),
        *("rank", "global_rank", "local_rank", "node_rank", "world_size", "num_replicas"),
        *("process_index", "num_processes", "shard_id", "shard_index"),
        *("split_by_node", "split_dataset_by_node"),
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMPI_COMM_WORLD_RANK"),
        *("SLURM_PROCID", "SLURM_NTASKS"),
    )
)
OF_WORKERS = frozenset(["get_worker_info", "worker_info", "split_by_worker"])
# A dataset with one of these can be told to divide itself, or to go on in the middle.
OWN_WAYS = ("shard", "split_by_rank", "state_dict")

_ADDRESS = re.compile(r"\b0x[0-9a-f]+", re.IGNORECASE)
# What these say of themselves may name a rank's device or process.
_NOT_SHOWN = ("torch", "engine", "logging", "threading", "multiprocessing")
_READ_BY = ("__iter__", "__next__", "__getitem__", "__call__")
_NOT_LOOKED_AT = ("torch", "numpy", "builtins", "engine", "logging", "threading", "collections")
_MOST = 20_000  # parts of the data that are looked at
_SAMPLE = 1_000  # items of a long list, or numbers of a large array
_DEPTH = 8


def why_divided(read: tuple[Any, ...], words: frozenset[str]) -> str:
    """Why data must not be divided once more, nothing where it must; called on all ranks.

    `read` is the data and what else runs when it is read, `words` are the names in their code.
    """
    asks = sorted(words & OF_RANKS)
    # A loader with a state goes on in the middle, and is divided by nobody.
    ways = OWN_WAYS if isinstance(read[0], IterableDataset) else OWN_WAYS[:-1]
    own = next((way for way in ways if callable(getattr(read[0], way, None))), None)
    found = gather_all((asks, own, digest(read)))  # ranks decide alike, whatever differs
    asks, own, _ = found[0]
    if isinstance(read[0], IterDataPipe):
        return "torch divides it itself, at its `sharding_filter` if it has one"
    if own:
        return f"it has `{own}`, so it is taken to divide itself: let it, if it does not yet"
    if asks:
        return f"it asks for its rank by itself (`{asks[0]}`)"
    if len({content for *_, content in found}) > 1:
        return "what it holds is not the same on all ranks"
    return ""


def words_in(*roots: Any) -> frozenset[str]:
    """The names and texts in the code by which these objects are read, as far as it is found."""
    found: set[str] = set()
    seen: set[int] = set()
    queue: list[tuple[Any, int]] = [(root, 0) for root in roots]
    keep: list[Any] = []  # what was seen stays alive, so that its id is its own
    while queue and len(seen) < _MOST:
        one, depth = queue.pop()
        if id(one) in seen or depth > _DEPTH:
            continue
        seen.add(id(one))
        keep.append(one)
        queue += [(part, depth + 1) for part in _parts(one, found)]
    return frozenset(found)


def _parts(one: object, found: set[str]) -> Iterator[Batch]:
    """What else runs, or is read, when `one` is; names and texts are put into `found`."""
    if isinstance(one, CodeType):
        found.update(one.co_names, one.co_freevars)
        # Names of variables of the environment; in lower case it could be a key of the data.
        found.update(text for text in one.co_consts if isinstance(text, str) and text.isupper())
        yield from (inner for inner in one.co_consts if isinstance(inner, CodeType))
    elif isinstance(one, FunctionType):
        yield from _used_by(one.__code__, one.__globals__)
        yield from _enclosed(one)
    elif isinstance(one, type):
        yield from _code_of(one)
    elif isinstance(one, GeneratorType):
        yield from _used_by(one.gi_code, getattr(one.gi_frame, "f_globals", {}))
        yield from _locals(one).values()
    elif isinstance(one, (Mapping, list, tuple)):
        yield from few_of(one.values() if isinstance(one, Mapping) else one)
    elif isinstance(one, (MethodType, partial)):
        yield from _called(one)
    else:
        yield from _held(one).values()
        if _is_looked_at(type(one)):
            yield from _code_of(type(one))


def _used_by(code: CodeType, globals_: Mapping[str, Any]) -> Iterator[Batch]:
    yield code
    for name in _names(code):
        used = globals_.get(name)
        if isinstance(used, (FunctionType, type)) and _is_looked_at(used):
            yield used


def _called(one: MethodType | partial[Any]) -> tuple[Any, ...]:
    if isinstance(one, MethodType):
        return one.__func__, one.__self__
    return one.func, one.args, one.keywords


def _enclosed(function: Any) -> list[Any]:
    """What a function has from around it."""
    cells = getattr(function, "__closure__", None) or ()
    return [cell.cell_contents for cell in cells if _is_full(cell)]


def _locals(generator: GeneratorType[Any, Any, Any]) -> dict[str, Any]:
    return {} if generator.gi_frame is None else dict(generator.gi_frame.f_locals)


def _code_of(kind: type) -> Iterator[Batch]:
    """The functions of a class that run when one of it is read, and those that they call."""
    queue, seen = [*_READ_BY], set(_READ_BY)
    while queue:
        function = _function(getattr_static(kind, queue.pop(), None))
        if function is None or not _is_looked_at(function):
            continue
        yield function
        called = [name for name in _names(function.__code__) if name not in seen]
        queue += called
        seen.update(called)


def _function(attribute: Any) -> FunctionType | None:
    if isinstance(attribute, property):
        attribute = attribute.fget
    attribute = getattr(attribute, "__func__", attribute)  # static methods and those of a class
    return attribute if isinstance(attribute, FunctionType) else None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (an empty cell raises)
    except ValueError:
        return False
    return True


def _is_looked_at(one: object) -> bool:
    return str(getattr(one, "__module__", "")).split(".", maxsplit=1)[0] not in _NOT_LOOKED_AT


def _held(one: object) -> dict[str, Any]:
    """The attributes of an object of which something can be said."""
    is_data = isinstance(one, torch.utils.data.Dataset) or hasattr(type(one), "__iter__")
    if isinstance(one, (torch.nn.Module, ModuleType)) or not (is_data or _is_looked_at(type(one))):
        return {}
    held: dict[str, Any] = getattr(one, "__dict__", {})
    return {name: value for name, value in held.items() if name != ITERATOR}


def digest(data: Any) -> str:
    """A number for what data holds, without reading it: the same on ranks that have the same."""
    summary = hashlib.blake2b(digest_size=16)
    seen: set[int] = set()
    queue: list[tuple[Any, int]] = [(data, 0)]
    keep: list[Any] = []
    count = 0
    while queue and count < _MOST:
        one, depth = queue.pop()
        count += 1
        plain, parts = _described(one)
        summary.update(plain)
        if parts and depth < _DEPTH and id(one) not in seen:
            seen.add(id(one))
            keep.append(one)
            queue += [(part, depth + 1) for part in parts]
    return summary.hexdigest()


def _described(one: object) -> tuple[bytes, list[Any]]:
    """Bytes for an object itself, and what it holds."""
    kind = f"{type(one).__module__}.{type(one).__qualname__};".encode()
    text = _text(one)
    if text is not None:
        return kind + text.encode(), []
    if isinstance(one, (FunctionType, type)):
        return kind + one.__qualname__.encode(), _enclosed(one)
    if isinstance(one, Mapping):
        return kind, [len(one), *(part for pair in few_of(one.items()) for part in pair)]
    if isinstance(one, (list, tuple)):
        return kind, [len(one), *few_of(one)]
    if isinstance(one, (MethodType, partial)):
        return kind, [*_called(one)]
    if isinstance(one, GeneratorType):
        return kind, [one.gi_code.co_name, _locals(one)]
    return kind, [_held(one), *_shown(one)]


def _shown(one: object) -> list[Any]:
    """What data that is not made in Python says of itself.

    That is a table, an array, an open file, or a built-in iterator.
    """
    its, is_file = type(one), isinstance(one, IOBase)
    if hasattr(one, "__dict__") and not (is_file or hasattr(its, "__array__")):
        return []  # what it holds tells more
    is_data = hasattr(its, "__iter__") or hasattr(its, "__getitem__")
    if not is_data or its.__module__.split(".", maxsplit=1)[0] in _NOT_SHOWN:
        return []
    try:
        if isinstance(one, Iterator) and its.__module__ in ("builtins", "itertools"):
            parts: Any = one.__reduce__()  # its function, the arguments of that, and its state
            return [*parts[1], *parts[2:]]
        return [_ADDRESS.sub("", repr(one))]
    except Exception:  # whatever its class raises where it can't be shown
        return []


def _text(one: object) -> str | None:
    """All that is to be said of an object that holds no others; None if it may hold some."""
    if one is None or isinstance(one, (bool, int, float, complex, str, bytes, PurePath, range)):
        return repr(one)
    if isinstance(one, torch.Tensor):
        return _numbers(one)
    if isinstance(one, np.ndarray):
        flat = one.reshape(-1)
        few = flat[:: max(1, flat.size // _SAMPLE)]
        return f"{one.shape} {one.dtype} {few.tolist() if one.dtype.kind in 'biufcSU' else ''}"
    if isinstance(one, torch.Generator):
        return _numbers(one.get_state())
    if isinstance(one, random.Random):
        return repr(one.getstate())
    if isinstance(one, np.random.Generator):
        return repr(one.bit_generator.state)
    if isinstance(one, (set, frozenset)):
        plain = [repr(item) for item in one if isinstance(item, (int, float, str, bytes))]
        return f"{len(one)} {sorted(plain)[:_SAMPLE]}"
    return None


def few_of(items: Any) -> list[Any]:
    """All items of a short collection, and so many of a long one, from its whole length."""
    return list(islice(items, 0, None, max(1, len(items) // _SAMPLE)))


def _numbers(tensor: torch.Tensor) -> str:
    if type(tensor) is not torch.Tensor or tensor.is_sparse or tensor.device.type == "meta":
        return str(tuple(tensor.shape))
    flat = tensor.detach().reshape(-1)
    few = flat[:: max(1, flat.numel() // _SAMPLE)].cpu()
    return f"{tuple(tensor.shape)} {tensor.dtype} {few.tolist()}"
