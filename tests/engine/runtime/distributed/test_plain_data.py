"""What ranks tell each other: data comes as it was, what is none is refused, nothing runs."""

from __future__ import annotations

import enum
import json
import math
import pickle
from argparse import Namespace
from collections import Counter, OrderedDict, UserDict, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.distributed.messages import FIRST, Letter
from engine.runtime.distributed.plain_data import Damaged, NotPlain, pack, unpack
from tests.engine.support.ranks import ranks_in

ENGINE = Path(__file__).parents[4] / "engine"
RAN: list[str] = []


class Point(NamedTuple):
    x: int
    y: torch.Tensor


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Box:
    name: str
    inside: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        RAN.append(self.name)


@dataclass
class Slots:
    __slots__ = ("a", "b")
    a: int
    b: torch.Tensor


class Named(dict[str, Any]):
    """Of a dict, with an attribute of its own."""


class Batch(UserDict[str, Any]):
    """As transformers has."""


class Opens:
    """Pickle would run this."""

    def __reduce__(self) -> tuple[Any, ...]:
        return RAN.append, ("code ran",)


def same(one: Any, other: Any) -> bool:
    """Whether two values are alike, in kind and in all parts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        one, other = one.to_dense(), other.to_dense()
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


VALUES = [
    *(None, True, 3, -(2**80), 1.5, math.nan, -math.inf, "text \ud800 \0 ü", b"\0\xff", b"", 2j),
    *([], {}, (), set(), {1, "a"}, frozenset([2]), (1, [2, (3,)]), {1: 2, (1, 2): None, "a": []}),
    *(Path("/a/b"), Namespace(a=1), torch.float16, torch.device("cpu"), torch.Size([2, 3])),
    *(np.float64(1.5), np.arange(6).reshape(2, 3), np.array(["a", "bc"]), np.empty((0, 2))),
    np.datetime64("2020-01-01"),
    *(Color.RED, Level.HIGH, Counter("aab"), OrderedDict(b=1, a=2)),
    torch.arange(6.0).reshape(2, 3).t(),
    torch.tensor(True),
    torch.empty(3, 0),
    torch.tensor([1 + 2j]).conj(),
    torch.ones(3, dtype=torch.bfloat16),
    torch.eye(3).to_sparse(),
    {"deep": [{"in": (torch.ones(2), [Point(1, torch.zeros(2))])}]},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_data_comes_as_it_was(value: Any) -> None:
    """Kind, order and numbers are the same, and no tensor is a part of the message."""
    assert same(unpack(pack(value)), value)


def test_classes_of_the_program_come_as_they_were() -> None:
    """Those that only hold data are made again, and no function of theirs is called for it."""
    named = Named(a=torch.ones(2))
    named.more = 5  # type: ignore[attr-defined]  # a dict's subclass may have it
    box, slots = Box("box", [1]), Slots(1, torch.ones(1))
    RAN.clear()
    made = unpack(pack([box, slots, named, Batch(a=1), defaultdict(list, a=[1])]))

    assert made[0] == box
    assert RAN == []
    assert (made[1].a, made[1].b.item()) == (1, 1.0)
    assert (type(made[2]), made[2].more, made[2]["a"].tolist()) == (Named, 5, [1.0, 1.0])
    assert (type(made[3]), made[3].data) == (Batch, {"a": 1})
    assert made[4] == {"a": [1]}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        max_leaves=20,
    )
)
def test_any_plain_data_comes_as_it_was(value: Any) -> None:
    """Whatever is made of numbers, text and bytes."""
    assert same(unpack(pack(value)), value)


def test_what_is_no_data_is_refused_by_its_place() -> None:
    """An object of a class with more to it, a lambda, an array of objects, what holds itself."""
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(NotPlain, match=r"Opens at a\[0\] can't be sent"):
        pack({"a": [Opens()]})
    with pytest.raises(NotPlain, match="function"):
        pack(lambda: 1)
    with pytest.raises(NotPlain, match="array of object"):
        pack(np.array([Opens()]))
    with pytest.raises(NotPlain, match="100 times"):
        pack(loop)


def message(node: Any, blobs: bytes = b"") -> torch.Tensor:
    """A message that someone made by hand."""
    text = json.dumps(node).encode()
    head = len(text).to_bytes(8, "little") + text
    head += bytes(-len(head) % 16)
    return torch.frombuffer(bytearray(head + blobs), dtype=torch.uint8)


FORGED = [
    {"filled": ["tempfile", "_TemporaryFileCloser", [], [["name", "/etc/passwd"]]]},
    {"filled": ["subprocess", "Popen", [], []]},
    {"enum": ["os", "system", "id"]},
    {"value": "a method of the reader"},
    {"__class__": 1},
    {"tensor": ["float32", [1 << 40], "cpu", [0, 4]]},
    {"tensor": ["float32", [-1], "cpu", [0, 4]]},
    {"tensor": ["load", [1], "cpu", [0, 4]]},
    {"tensor": ["float32", [1 << 40], "cpu", [0, 4 << 40]]},
    {"array": ["O", [1], [0, 8], False]},
    {"bytes": [-8, 8]},
    {"dict": [[[], 1]]},
    {"dict": 5},
    {"sparse": [[], [], []]},
    {"a": 1, "b": 2},
]


@pytest.mark.parametrize("node", FORGED, ids=str)
def test_a_forged_message_is_refused(node: Any) -> None:
    """It makes no object that does things, and costs no more than its own size."""
    with pytest.raises(Damaged):
        unpack(message(node, bytes(16)))


def test_pickles_and_noise_are_refused() -> None:
    """What pickle would run is no message; nor is one that is nested without end, or cut off."""
    RAN.clear()
    text = ("[" * 100_000).encode()
    nested = len(text).to_bytes(8, "little") + text
    for data in (pickle.dumps(Opens()), b"", b"\xff" * 30, nested, bytes(pack([1]).numpy())[:-20]):
        with pytest.raises(Damaged):
            unpack(torch.frombuffer(bytearray(data + b"\0" * (not data)), dtype=torch.uint8))

    assert RAN == []


@pytest.mark.parametrize("size", [1, FIRST - 200, FIRST, 100_000])
def test_a_letter_is_one_part_or_two(size: int) -> None:
    """Short ones have no second part; long ones come whole; one without end is refused."""
    sent = Letter.of("x" * size)
    come = Letter.begun(sent.first)
    come.end(sent.rest(come.rest_size + 7))

    assert come.read(0) == "x" * size
    assert (come.rest_size > 0) == (size >= FIRST)
    with pytest.raises(Damaged, match="says that it has"):
        Letter.begun(torch.full((FIRST,), 255, dtype=torch.uint8))


def test_nothing_received_is_unpickled() -> None:
    """No file of the engine sends or takes objects by torch's pickling collectives."""
    words = ("broadcast_object", "gather_object", "scatter_object", "send_object", "recv_object")
    found = {
        (path.name, word)
        for path in ENGINE.rglob("*.py")
        for word in words
        if word in path.read_text()
    }

    assert found == set()


RANKS = """
import json, os, pickle, sys
import torch, torch.distributed as dist
from engine.runtime.distributed import world as distributed
from engine.runtime.distributed.messages import FIRST, Letter
from engine.runtime.distributed.plain_data import Damaged, NotPlain

class Opens:
    def __reduce__(self):
        return os.mkdir, ("code-ran",)

dist.init_process_group("gloo")
rank, said = dist.get_rank(), []
big = {"text": "x" * 5000, "tensor": torch.arange(3) + rank, "rank": rank}
shown = lambda one: None if one is None else (one["text"] == big["text"], one["tensor"].tolist())
said.append([shown(one) for one in distributed.gather_all(big)])
said.append(shown(distributed.broadcast(big if rank == 1 else None, 1)))
zero = distributed.gather_to_zero(big)
said.append(zero and [shown(one) for one in zero])
said.append(distributed.gather_all("x" * (3000 * rank)) == ["", "x" * 3000])
for ask in (distributed.gather_all, distributed.gather_to_zero, distributed.broadcast):
    try:
        ask(Opens() if rank == 0 else 1)
        said.append("nothing")
    except NotPlain as error:
        said.append(str(error).partition(' between')[0])
if rank == 0:  # the other one sends what torch's object collectives would run
    try:
        distributed.gather_all("hello")
        said.append("nothing")
    except Damaged as error:
        said.append("damaged")
else:
    first, evil = torch.zeros(FIRST, dtype=torch.uint8), pickle.dumps(Opens())
    first[0], first[8] = len(evil), 1
    first[9:9 + len(evil)] = torch.frombuffer(bytearray(evil), dtype=torch.uint8)
    dist.all_gather([torch.empty_like(first) for _ in range(2)], first)
    said.append("damaged")
distributed.barrier()
said.append(os.path.exists("code-ran"))
with open(sys.argv[1], "w") as file:
    json.dump(said, file)
"""


def test_ranks_hear_each_other_and_run_nothing(tmp_path: Path) -> None:
    """Long messages and short ones; what is no data raises on all ranks, whoever has it; a pickle
    that a rank sends is not opened."""
    with ranks_in(tmp_path) as ranks:
        zero, one = ranks(RANKS)

    tensors = [[True, [0, 1, 2]], [True, [1, 2, 3]]]
    refused = "rank 0: a __main__.Opens can't be sent"
    assert zero == [tensors, tensors[1], tensors, True, *[refused] * 3, "damaged", False]
    assert one == [tensors, tensors[1], None, True, *[refused] * 3, "damaged", False]
