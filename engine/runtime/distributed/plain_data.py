"""Data as bytes, and back, without pickle: what ranks tell each other runs no code.

The bytes are the length of a JSON text, that text, and the numbers of tensors and arrays one after
the other. In the text a list is a list, and what JSON has no word for is an object with one key
that names its kind. Classes of the program's own are made again if they only hold data, as
dataclasses, named tuples, enums, dicts and lists do, and the one who reads has imported them:
nothing is imported, and none of their functions is called.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import sys
from argparse import Namespace
from collections import UserDict
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

MOST_BYTES = 1 << 36  # of one message
_DEPTH = 100
_ALIGNED = 16
_KINDS = frozenset(
    (
        *("dict", "tuple", "set", "frozenset", "Size", "namespace"),
        *("complex", "bytes", "path", "dtype", "device", "tensor", "sparse", "array"),
        *("enum", "named", "filled"),
    )
)
_OF_PYTHON = 1 << 9  # of a class's flags: it was made by a class statement
_ARRAYS = "?biufcSUMm"  # numpy's kinds that are numbers, text and times
_OFFERED = (
    "numbers, text, bytes, tensors, arrays, and lists, tuples, sets, dicts, dataclasses, named "
    "tuples and enums of them"
)


class NotPlain(TypeError):
    """What was to be sent is not plain data; the message names the part."""


class Damaged(ValueError):
    """What came is not what `pack` makes."""


def pack(value: Any) -> torch.Tensor:
    """Plain data as a tensor of bytes. Raises NotPlain."""
    blobs: list[tuple[int, torch.Tensor]] = []
    text = json.dumps(_Writer(blobs).node(value, "", 0), separators=(",", ":")).encode("ascii")
    begin = _aligned(8 + len(text))
    size = begin + (blobs[-1][0] + blobs[-1][1].numel() if blobs else 0)
    packed = torch.zeros(size, dtype=torch.uint8)
    packed[:8] = _bytes_of(len(text).to_bytes(8, "little"))
    packed[8 : 8 + len(text)] = _bytes_of(text)
    for offset, blob in blobs:
        packed[begin + offset : begin + offset + blob.numel()] = blob
    return packed


def unpack(packed: torch.Tensor) -> Any:
    """What `pack` was given; tensors of a GPU come to this process's own. Raises Damaged."""
    length = int.from_bytes(bytes(packed[:8].tolist()), "little")
    if packed.numel() < 8 or length > packed.numel() - 8:
        raise Damaged(f"a message of {packed.numel()} bytes says that its text has {length}")
    text = packed[8 : 8 + length].numpy().tobytes()
    try:
        node = json.loads(text)
        return _Reader(packed[_aligned(8 + length) :]).value(node)
    except Damaged:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError, RecursionError) as error:
        raise Damaged(f"a message can't be read: {type(error).__name__}: {error}") from error


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED


def _bytes_of(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _name_of(kind: type[Any]) -> list[str]:
    return [kind.__module__, kind.__qualname__]


def _class_named(module: str, name: str) -> Any:
    """A class that has been imported already; None if there is none of that name."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found if isinstance(found, type) else None


def _kind_of_data(kind: type[Any]) -> str | None:
    """How a class holds data, if it is a class that only does."""
    if _class_named(*_name_of(kind)) is not kind or hasattr(kind, "__del__"):
        return None
    if issubclass(kind, enum.Enum):
        return "enum"
    if issubclass(kind, tuple):
        return "named" if hasattr(kind, "_fields") else None
    if issubclass(kind, (dict, list)):
        return "filled"
    return "fields" if dataclasses.is_dataclass(kind) or issubclass(kind, UserDict) else None


class _Writer:
    def __init__(self, blobs: list[tuple[int, torch.Tensor]]) -> None:
        self._blobs = blobs

    def node(self, value: Any, path: str, depth: int) -> Any:
        """A value as JSON data; `path` says where it is."""
        if value is None or type(value) in (bool, int, str, float):
            return value
        if depth > _DEPTH:
            raise NotPlain(f"data within data more than {_DEPTH} times can't be sent: {path[:200]}")
        kind = type(value)
        if kind is list:
            return [self.node(one, f"{path}[{i}]", depth + 1) for i, one in enumerate(value)]
        if kind is dict:
            return {"dict": self._pairs(value, path, depth)}
        if kind in (tuple, set, frozenset, torch.Size):
            return {kind.__name__: self.node(list(value), path, depth)}
        if isinstance(value, torch.Tensor):
            return self._tensor(value, path, depth)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value, path)
        return self._rare(value, path, depth)

    def _rare(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, (bytes, bytearray)):
            return {"bytes": self._blob(_bytes_of(bytes(value)) if value else torch.empty(0))}
        if isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        if isinstance(value, (torch.dtype, torch.device)):
            return {type(value).__name__: str(value).removeprefix("torch.")}
        if isinstance(value, PurePath):
            return {"path": str(value)}
        if isinstance(value, Namespace):
            return {"namespace": self._pairs(vars(value), path, depth)}
        return self._of_class(value, path, depth)

    def _of_class(self, value: Any, path: str, depth: int) -> Any:
        """An object of a class that only holds data, or of a number or text with more to it."""
        how, name = _kind_of_data(type(value)), _name_of(type(value))
        if how == "enum":
            return {"enum": [*name, value.name]}
        if how == "named":
            return {"named": [*name, self.node(list(value), path, depth)]}
        if how is not None:
            inside: Any = []
            if how == "filled":
                base = dict if isinstance(value, dict) else list
                inside = self.node(base(value), path, depth)
            slots = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
            fields = {
                one.name: getattr(value, one.name) for one in slots if hasattr(value, one.name)
            }
            fields |= getattr(value, "__dict__", {})
            return {"filled": [*name, inside, self._pairs(fields, path, depth)]}
        for plain in (str, int, float):
            if isinstance(value, plain):
                return plain(value)
        where = f" at {path.lstrip('.')}" if path else ""
        raise NotPlain(
            f"a {type(value).__module__}.{type(value).__qualname__}{where} can't be sent between "
            f"ranks, which take {_OFFERED} from each other, and unpickle nothing"
        )

    def _pairs(self, value: Any, path: str, depth: int) -> list[Any]:
        return [
            [self.node(key, path, depth + 1), self.node(one, f"{path}.{key}", depth + 1)]
            for key, one in dict(value).items()
        ]

    def _blob(self, data: torch.Tensor) -> list[int]:
        """Where the bytes will lie: begin and number."""
        begin = 0
        if self._blobs:
            last, blob = self._blobs[-1]
            begin = _aligned(last + blob.numel())
        self._blobs.append((begin, data))
        return [begin, data.numel()]

    def _tensor(self, value: torch.Tensor, path: str, depth: int) -> Any:
        tensor = value.detach()
        if tensor.layout is torch.sparse_coo:
            whole = tensor.coalesce()
            parts = [whole.indices(), whole.values(), list(whole.shape)]
            return {"sparse": [self.node(one, path, depth + 1) for one in parts]}
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise NotPlain(
                f"a tensor of layout {tensor.layout} at {path or 'the top'}: send a dense one"
            )
        tensor = tensor.cpu().resolve_conj().resolve_neg().contiguous()
        data = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)
        dtype = str(tensor.dtype).removeprefix("torch.")
        return {"tensor": [dtype, list(tensor.shape), value.device.type, self._blob(data)]}

    def _array(self, value: Any, path: str) -> Any:
        array = np.asarray(value)
        if array.dtype.kind not in _ARRAYS:
            raise NotPlain(f"an array of {array.dtype} at {path or 'the top'} can't be sent")
        data = np.ascontiguousarray(array).tobytes()
        blob = self._blob(_bytes_of(data) if data else torch.empty(0))
        return {"array": [array.dtype.str, list(array.shape), blob, isinstance(value, np.generic)]}


class _Reader:
    def __init__(self, blobs: torch.Tensor) -> None:
        self._blobs = blobs

    def value(self, node: Any) -> Any:
        """What a node stands for."""
        if isinstance(node, list):
            return [self.value(one) for one in node]
        if not isinstance(node, dict):
            return node
        ((kind, inner),) = node.items()
        method = getattr(self, f"_{kind}", None)
        if kind not in _KINDS or method is None:
            raise Damaged(f"a message holds a {kind!r}, which is no kind of data")
        return method(inner)

    def _dict(self, inner: Any) -> dict[Any, Any]:
        return {self.value(key): self.value(one) for key, one in inner}

    def _tuple(self, inner: Any) -> tuple[Any, ...]:
        return tuple(self.value(inner))

    def _set(self, inner: Any) -> set[Any]:
        return set(self.value(inner))

    def _frozenset(self, inner: Any) -> frozenset[Any]:
        return frozenset(self.value(inner))

    def _Size(self, inner: Any) -> torch.Size:
        return torch.Size(inner)

    def _complex(self, inner: Any) -> complex:
        return complex(*inner)

    def _dtype(self, inner: Any) -> torch.dtype:
        found = vars(torch).get(inner)
        if not isinstance(found, torch.dtype):
            raise Damaged(f"torch has no dtype {inner!r}")
        return found

    def _device(self, inner: Any) -> torch.device:
        return torch.device(inner)

    def _path(self, inner: Any) -> Path:
        return Path(inner)

    def _namespace(self, inner: Any) -> Namespace:
        return Namespace(**self._dict(inner))

    def _bytes(self, inner: Any) -> bytes:
        return bytes(self._part(inner).numpy())

    def _part(self, blob: Any) -> torch.Tensor:
        begin, size = blob
        if not (type(begin) is type(size) is int and 0 <= begin <= begin + size):
            raise Damaged(f"a message has no bytes {blob!r}")
        if size and begin + size > self._blobs.numel():
            raise Damaged(f"a message says that it holds {begin + size} bytes more than it does")
        return self._blobs[begin : begin + size]

    def _sized(self, shape: Any, itemsize: int, blob: Any) -> torch.Tensor:
        """The bytes of a tensor or an array, which must be as many as its shape says."""
        if not all(type(one) is int and one >= 0 for one in shape):
            raise Damaged(f"{shape!r} is no shape")
        part = self._part(blob)
        if math.prod(shape) * itemsize != part.numel():
            raise Damaged(f"{part.numel()} bytes are no tensor or array of shape {shape}")
        return part

    def _tensor(self, inner: Any) -> torch.Tensor:
        name, shape, device, blob = inner
        dtype = self._dtype(name)
        part = self._sized(shape, dtype.itemsize, blob)
        tensor = (
            part.view(dtype).reshape(shape) if part.numel() else torch.empty(shape, dtype=dtype)
        )
        if device == "cuda" and torch.cuda.is_available():
            return tensor.to(device)
        return tensor.clone()  # not a part of all that came

    def _sparse(self, inner: Any) -> torch.Tensor:
        indices, values, shape = (self.value(one) for one in inner)
        return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True)

    def _array(self, inner: Any) -> Any:
        name, shape, blob, is_scalar = inner
        dtype = np.dtype(str(name))
        if dtype.kind not in _ARRAYS:
            raise Damaged(f"{name!r} is no dtype of numbers or text")
        part = self._sized(shape, dtype.itemsize, blob)
        array = np.frombuffer(part.numpy().tobytes(), dtype).reshape(shape)
        return array[()] if is_scalar else array.copy()

    def _known(self, module: Any, name: Any, *ways: str) -> Any:
        kind = _class_named(str(module), str(name))
        if kind is None or _kind_of_data(kind) not in ways:
            raise Damaged(
                f"a message holds a {module}.{name}, which is no class of data that this process "
                "has imported; import its module on all ranks"
            )
        return kind

    def _enum(self, inner: Any) -> Any:
        module, name, member = inner
        return self._known(module, name, "enum").__members__[member]

    def _named(self, inner: Any) -> Any:
        module, name, items = inner
        kind = self._known(module, name, "named")
        if len(items) != len(kind._fields):
            raise Damaged(f"a {name} has {len(kind._fields)} parts, not {len(items)}")
        return tuple.__new__(kind, self.value(items))

    def _filled(self, inner: Any) -> Any:
        module, name, inside, fields = inner
        kind = self._known(module, name, "filled", "fields")
        base: Any = next(one for one in kind.__mro__ if not one.__flags__ & _OF_PYTHON)
        made = base.__new__(kind)
        if issubclass(base, dict):
            for key, one in self.value(inside).items():
                base.__setitem__(made, key, one)
        elif issubclass(base, list):
            base.extend(made, self.value(inside))
        for field, one in self._dict(fields).items():
            object.__setattr__(made, field, one)
        return made
