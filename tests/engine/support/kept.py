"""What a program keeps in memory, by name: for tests that nothing grows.

From some roots on all is followed that holds something: attributes, containers, closures, bound
methods. What has a length is noted under the path that leads to it.
"""

from __future__ import annotations

import functools
import io
import queue
import re
import sys
import types
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

_LEAVES = (type, types.ModuleType, types.CodeType, types.BuiltinFunctionType, int, float, complex)
_SEQUENCES = (list, tuple, set, frozenset, deque)


def lengths(roots: Mapping[str, Any], leave_out: tuple[Any, ...] = ()) -> dict[str, int]:
    """The length of everything that can be reached and has one, by its path.

    `leave_out` are objects, or classes, that are not looked into.
    """
    classes = tuple(one for one in leave_out if isinstance(one, type))
    seen = {id(one): one for one in leave_out}
    found: dict[str, int] = {}
    waiting = deque(roots.items())  # breadth first: an object goes by its shortest name
    while waiting:
        path, value = waiting.popleft()
        is_leaf = value is None or isinstance(value, (*_LEAVES, *classes))
        if is_leaf or id(value) in seen:
            continue
        seen[id(value)] = value
        size = size_of(value)
        if size is not None:
            found[path] = size
        waiting.extend((f"{path}{name}", inner) for name, inner in _members(value))
    return found


def lengths_of_engine(leave_out: tuple[Any, ...] = (), **roots: Any) -> dict[str, int]:
    """The same, with what the engine's modules hold, and its functions that run just now."""
    modules = {n: vars(m) for n, m in sys.modules.items() if n.split(".")[0] == "engine"}
    running: dict[str, Any] = {}
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") in modules:
            name = f"{frame.f_globals['__name__']}.{frame.f_code.co_name}()"
            running.setdefault(name, dict(frame.f_locals))
        frame = frame.f_back
    return lengths({**roots, **modules, **running}, leave_out)


def grown(small: Mapping[str, int], large: Mapping[str, int], by: int) -> dict[str, Any]:
    """Paths whose length is greater by more than `by`; and whether there are more things at all."""
    culprits: dict[str, Any] = {
        path: f"{small[path]} -> {size}"
        for path, size in large.items()
        if path in small and size - small[path] > by
    }
    if len(large) - len(small) > by:
        new = Counter(_kind(path) for path in large)
        new.subtract(_kind(path) for path in small)
        culprits[f"{len(small)} -> {len(large)} things, such as"] = new.most_common(3)
    return culprits


def _kind(path: str) -> str:
    """A path without numbers: members of one list are of one kind."""
    return re.sub(r"\d+", "N", path)


def size_of(value: Any) -> int | None:
    """Its length, where it has one that says how much it keeps."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, (str, bytes, bytearray, dict, *_SEQUENCES)):
        return len(value)
    if isinstance(value, queue.Queue):
        return value.qsize()
    if isinstance(value, (io.StringIO, io.BytesIO)):
        return len(value.getvalue())
    return value.size if isinstance(value, np.ndarray) else None


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in list(value.items()):
            yield f"[{key!r}]" if isinstance(key, (str, int)) else f"[{type(key).__name__}]", inner
    elif isinstance(value, _SEQUENCES):
        for index, inner in enumerate(list(value)):
            yield f"[{index}]", inner
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if cell != types.CellType():
                yield f"<{name}>", cell.cell_contents
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, functools.partial):
        yield "<partial>", (value.func, value.args, value.keywords)
    elif isinstance(value, types.GeneratorType) and value.gi_frame is not None:
        for name, inner in value.gi_frame.f_locals.items():
            yield f"<{name}>", inner
    elif isinstance(value, torch.Tensor):
        yield ".grad_fn", value.grad_fn
        if value.is_leaf:
            yield ".grad", value.grad
    elif type(value).__module__ == "torch.autograd" or hasattr(value, "next_functions"):
        yield ".next", [function for function, _ in value.next_functions]
    for name, inner in getattr(value, "__dict__", {}).items():
        yield f".{name}", inner
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and not name.startswith("__"):
                yield f".{name}", getattr(value, name)
