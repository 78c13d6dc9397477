"""What it would cost to load a pickle of torch's, found out without loading it.

The pickle is gone through as torch would do it, with stand-ins: nothing that it names is imported
or called, no tensor is made. A tensor must be within its storage, and a storage within the file;
copies and containers are added up. So what a file becomes is bounded by its size, whoever made it.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

import torch

from engine.runtime.errors import CheckpointError

FACTOR, ROOM = 32, 64 << 20  # bytes that a file may become: so many for each, and so many anyway
DEPTH = 200
_MANY = 1 << 60
_MAGIC = 0x1950A86A20F9469CFC6C
_ITEM_BYTES = {
    **dict.fromkeys(("ComplexDouble",), 16),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Char", "Byte", "Bool", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4"), 1),
    "Untyped": 1,
}
_TEXT_CODECS = ("latin1", "latin-1", "utf-8", "utf8", "ascii")


class _TooMuch(Exception):
    """Loading it would cost more than its size allows; the message says what."""


def rehearse(parts: Mapping[str, int], data: bytes, size: int, name: str) -> None:
    """Check the pickle of an archive of `size` bytes, whose parts have these sizes.

    Raises CheckpointError, with `name`, where loading it would cost too much or can't be done.
    """

    def storage(kind: str, key: str, nbytes: int) -> None:
        if nbytes > parts.get(f"data/{key}".lower(), 0):
            raise _TooMuch(f"says that storage {key!r} has {nbytes} bytes, which are not there")

    _guarded(lambda: _Rehearsal(io.BytesIO(data), _Budget(size), storage).whole(), name)


def rehearse_old(file: IO[bytes], size: int, name: str) -> None:
    """The same for a file as torch.save wrote them before 1.6: pickles, then the storages."""

    def all_of_it() -> None:
        budget, storages = _Budget(size), dict[str, int]()

        def storage(kind: str, key: str, nbytes: int) -> None:
            storages[key] = max(nbytes, storages.get(key, 0))
            if sum(storages.values()) > size:
                raise _TooMuch("says that its storages have more bytes than there are")

        magic = _Rehearsal(file, budget, storage).load()
        if magic != _MAGIC:
            return  # none of torch's: it says so itself, at the same place
        for _ in range(4):  # protocol, system, what was saved, names of the storages
            _Rehearsal(file, budget, storage).whole()

    _guarded(all_of_it, name)


def _guarded(check: Callable[[], None], name: str) -> None:
    try:
        check()
    except _TooMuch as error:
        raise CheckpointError(
            f"{name} {error}; it is not loaded, as it was not written by torch.save, or has been "
            "changed since"
        ) from error
    except Exception as error:  # a damaged file can do anything
        raise CheckpointError(
            f"{name} cannot be read; it may be damaged, or a part of a file. It said: "
            f"{type(error).__name__}: {error}"
        ) from error


class _Budget:
    def __init__(self, size: int) -> None:
        self._most = self._left = FACTOR * size + ROOM

    def spend(self, nbytes: int) -> None:
        """Note what something costs."""
        self._left -= nbytes
        if self._left < 0:
            raise _TooMuch(f"would become more than {self._most >> 20} MiB")


class _Tensor:
    """In the place of a tensor."""

    def __init__(self, nbytes: int = 0) -> None:
        self.nbytes = nbytes


class _Storage:
    """In the place of a storage."""

    def __init__(self, nbytes: int, item_bytes: int) -> None:
        self.nbytes, self.item_bytes = nbytes, item_bytes


class _Thing:
    """In the place of an object of any other class."""

    def __call__(self, *args: Any) -> _Thing:
        """As of a function; torch runs none that it does not know."""
        return self

    def append(self, item: object) -> None:
        """As of a list."""

    def extend(self, items: Any) -> None:
        """As of a list."""

    def __setitem__(self, key: object, value: object) -> None:
        """As of a dict."""


class _Global:
    """In the place of a class or function that the pickle names."""

    def __init__(self, path: str, budget: _Budget) -> None:
        self.path, self._budget = path, budget

    def __call__(self, *args: Any) -> Any:
        self._budget.spend(256)
        for one in args:
            if isinstance(one, (str, bytes, bytearray)):
                self._budget.spend(2 * len(one))
            elif isinstance(one, (list, tuple, dict, set)):
                self._budget.spend(16 * len(one))
        return self._made(args)

    def _made(self, args: tuple[Any, ...]) -> Any:
        if self.path == "collections.OrderedDict":
            return OrderedDict()
        if self.path in ("builtins.set", "__builtin__.set"):
            return set()
        if self.path in ("builtins.bytearray", "__builtin__.bytearray"):
            if any(isinstance(one, int) for one in args):
                raise _TooMuch("wants bytes of a number that it says itself")
        elif self.path == "_codecs.encode":
            if not isinstance(args[0], str) or args[1:] not in {(one,) for one in _TEXT_CODECS}:
                raise _TooMuch(f"wants to have data encoded as {args[1:]}")
            return args[0].encode("utf-8", "replace")
        elif self.path.startswith("torch."):
            return self._of_torch(args)
        return _Thing()

    def _of_torch(self, args: tuple[Any, ...]) -> Any:
        function = self.path.rpartition(".")[2]
        if function in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            dtype = args[6] if function.endswith("v3") else None
            return _strided(args[:4], dtype, self._budget)
        if function == "_rebuild_qtensor":
            return _strided(args[:4], None, self._budget)
        if function == "_rebuild_from_type_v2":
            return args[0](*args[2])
        if function in ("_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter"):
            return args[0] if args and isinstance(args[0], _Tensor) else _Tensor()
        if function == "_rebuild_device_tensor_from_cpu_tensor":
            self._budget.spend(8 * getattr(args[0], "nbytes", 0))
        if function == "_rebuild_nested_tensor":
            raise _TooMuch("holds a nested tensor, whose size can't be told before")
        if function.startswith("_rebuild_"):
            return _Tensor()
        if function.endswith(("Tensor", "Storage")) and _numbers_in(args):
            raise _TooMuch(f"wants a {self.path} of a size that it says itself")
        return _Thing()


def _numbers_in(args: Any) -> bool:
    """Whether there are numbers among arguments, or in lists and tuples of them."""
    return any(
        isinstance(one, int) or (isinstance(one, (list, tuple)) and _numbers_in(one))
        for one in args
        if one is not args
    )


def _strided(args: tuple[Any, ...], dtype: Any, budget: _Budget) -> _Tensor:
    """A tensor on a storage: it must be within that, and costs what it would be as a copy."""
    storage, offset, size, stride = args
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise _TooMuch("holds a tensor that is none")
    if len(size) != len(stride):
        raise _TooMuch("holds a tensor with a stride too many or too few")
    item_bytes = storage.item_bytes
    if dtype is not None:
        item_bytes = getattr(vars(torch).get(dtype.path.rpartition(".")[2]), "itemsize", 0) or 16
    nbytes = math.prod(size) * item_bytes
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    if nbytes and reach * item_bytes > storage.nbytes:
        raise _TooMuch(
            f"holds a tensor of shape {tuple(size)} that is larger than its storage of "
            f"{storage.nbytes} bytes"
        )
    budget.spend(nbytes)
    return _Tensor(nbytes)


_InPython: Any = pickle._Unpickler  # C's would be quicker, and takes memory as the file says


class _Rehearsal(_InPython):  # type: ignore[misc]  # typeshed knows little of it
    """Goes through a pickle."""

    dispatch: ClassVar[dict[int, Any]] = dict(_InPython.dispatch)

    def __init__(
        self, file: IO[bytes], budget: _Budget, storage: Callable[[str, str, int], None]
    ) -> None:
        super().__init__(file, encoding="latin-1")
        self._budget, self._storage = budget, storage
        self._globals: dict[str, _Global] = {}

    def whole(self) -> None:
        """Go through all; see how large and deep it is, counting all that it refers to."""
        root = self.load()
        count, depth = unfolded(root, _inside)
        if depth > DEPTH:
            raise _TooMuch(f"is nested {depth} times")
        self._budget.spend(8 * count)

    def find_class(self, module: str, name: str) -> Any:
        """Nothing is imported."""
        path = f"{module}.{name}"
        return self._globals.setdefault(path, _Global(path, self._budget))

    def persistent_load(self, pid: Any) -> Any:
        """A storage; its bytes must be in the file."""
        if not isinstance(pid, tuple) or len(pid) < 5 or _text(pid[0]) != "storage":
            raise _TooMuch(f"refers to something that is no storage: {str(pid)[:100]}")
        kind, key, numel = pid[1], _text(pid[2]), pid[4]
        word = kind.path.rpartition(".")[2].removesuffix("Storage")
        item_bytes = _ITEM_BYTES.get(word)
        if item_bytes is None or type(numel) is not int or numel < 0:
            raise _TooMuch(f"holds a storage of {numel!r} items of kind {word!r}")
        self._storage(word, key, numel * item_bytes)
        return _Storage(numel * item_bytes, item_bytes)

    def _new(self) -> None:
        args = self.stack.pop()
        kind = self.stack.pop()
        self.append(kind(*args))

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Tensor) and isinstance(state, tuple) and len(state) == 4:
            if isinstance(state[0], _Storage):  # the tensor is put onto a storage
                _strided(state, None, self._budget)
        elif isinstance(target, _Storage):
            raise _TooMuch("sets the state of a storage")

    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.BUILD[0]] = _build


def _costing(load: Callable[[Any], None], nbytes: int) -> Callable[[Any], None]:
    def counted(self: Any) -> None:
        self._budget.spend(nbytes)
        load(self)

    return counted


for _code, _nbytes in (
    *((pickle.EMPTY_LIST, 56), (pickle.EMPTY_DICT, 64), (pickle.EMPTY_SET, 216)),
    *((pickle.BINPUT, 16), (pickle.LONG_BINPUT, 16), (pickle.MEMOIZE, 16)),
):
    _Rehearsal.dispatch[_code[0]] = _costing(_Rehearsal.dispatch[_code[0]], _nbytes)


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _inside(value: object) -> Any:
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    return value if isinstance(value, (list, tuple, set)) else ()


def unfolded(root: Any, inside: Callable[[Any], Any]) -> tuple[int, int]:
    """How many parts a value has, and how deep, each counted as often as it is referred to."""
    done: dict[int, tuple[int, int]] = {}
    stack = [(root, False)]
    while stack:
        one, is_left = stack.pop()
        parts = inside(one)
        if is_left:
            known = [done.get(id(part), (1, 0)) for part in parts]
            done[id(one)] = (
                min(1 + sum(count for count, _ in known), _MANY),
                1 + max((depth for _, depth in known), default=0),
            )
        elif id(one) not in done and len(parts):
            done[id(one)] = (1, 0)  # within itself it counts as one
            stack.append((one, True))
            stack += [(part, False) for part in parts]
    return done.get(id(root), (1, 0))
