"""Files that say they are more than they are: refused before they take the memory, named, unrun."""

from __future__ import annotations

import copy
import io
import os
import pickle
import resource
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.runtime.errors import CheckpointError
from engine.runtime.storage import checkpoint as files
from engine.runtime.storage.archive import archive
from engine.runtime.storage.yaml_data import load_yaml

HUGE = 1 << 30
LEAST_MIB = 150  # that a bomb may take, with all that a process takes of itself meanwhile


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self._reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


def storage() -> Any:
    data = torch.ones(4).untyped_storage()
    return torch.storage.TypedStorage(wrap_storage=data, dtype=torch.float32, _internal=True)


def rebuilt(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, **more: Any) -> Calls:
    args = (storage(), offset, size, stride, False, OrderedDict())
    return Calls(torch._utils._rebuild_tensor_v2, *args, **more)


def doubled(times: int) -> list[Any]:
    inner: list[Any] = [1]
    for _ in range(times):
        inner = [inner, inner]
    return inner


def nested(times: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(times):
        inner = [inner]
    return inner


def encoded(times: int) -> Any:
    import _codecs

    made: Any = "00" * 1000
    for _ in range(times):
        made = Calls(_codecs.encode, made, "hex")
    return made


def copies() -> list[Any]:
    text = b"x" * 100_000
    return [Calls(bytearray, text) for _ in range(3000)]


BOMBS: dict[str, Callable[[], Any]] = {
    "larger than its storage": lambda: rebuilt((HUGE,), (1,)),
    "an offset beyond it": lambda: rebuilt((4,), (1,), HUGE),
    "a negative stride": lambda: rebuilt((4,), (-1,)),
    "expanded": lambda: torch.zeros(1).expand(HUGE, HUGE),
    "set to a size": lambda: rebuilt((4,), (1,), state=(storage(), 0, (HUGE,), (1,))),
    "by a type": lambda: Calls(
        torch._tensor._rebuild_from_type_v2,
        torch._utils._rebuild_tensor_v2,
        torch.Tensor,
        (storage(), 0, (HUGE,), (1,), False, OrderedDict()),
        {},
    ),
    "a tensor of a size": lambda: Calls(torch.FloatTensor, HUGE),
    "quantized": lambda: Calls(
        torch._utils._rebuild_qtensor,
        *(storage(), 0, (HUGE,), (1,), (torch.per_tensor_affine, 1.0, 0), False, OrderedDict()),
    ),
    "bytes of a size": lambda: Calls(bytearray, HUGE),
    "copies": copies,
    "encoded": lambda: encoded(3),
    "within itself again and again": lambda: doubled(60),
    "nested": lambda: nested(400),
}


def saved(value: Any, path: Path, **options: Any) -> Path:
    sys.setrecursionlimit(20_000)
    try:
        torch.save({"state_dict": {}, "bomb": value}, path, **options)
    finally:
        sys.setrecursionlimit(1000)
    return path


def refused(path: Path, why: str | None = None) -> None:
    """The file is refused, and took no memory for it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=why) as failure:
        files.read(path)
    assert path.name in str(failure.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LEAST_MIB << 10


@pytest.mark.parametrize("is_zip", [True, False], ids=["now", "before 1.6"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_that_grows_is_refused(name: str, is_zip: bool, tmp_path: Path) -> None:
    """In both formats of torch.save: what is in the file bounds what comes of it."""
    path = saved(BOMBS[name](), tmp_path / "bomb.ckpt", _use_new_zipfile_serialization=is_zip)

    assert path.stat().st_size < 1 << 20
    refused(path, "not loaded")


def test_an_archive_that_grows_is_refused(tmp_path: Path) -> None:
    """Compressed parts, parts that share their bytes, and a second directory."""
    whole = saved(torch.zeros(5_000_000), tmp_path / "whole.ckpt")
    with (
        zipfile.ZipFile(whole) as parts,
        zipfile.ZipFile(tmp_path / "small.ckpt", "w", zipfile.ZIP_DEFLATED) as small,
        zipfile.ZipFile(tmp_path / "shared.ckpt", "w") as shared,
    ):
        for info in parts.infolist():
            small.writestr(info.filename, parts.read(info))
            if not info.filename.endswith("data/0"):
                shared.writestr(info.filename, parts.read(info))
        shared.writestr("archive/data/0", bytes(1000))
        twice = copy.copy(shared.filelist[-1])
        twice.filename = "archive/data/1"
        shared.filelist.append(twice)
    for name, more in (("before", (b"PK", b"")), ("after", (b"", b"more"))):
        (tmp_path / f"{name}.ckpt").write_bytes(more[0] + whole.read_bytes() + more[1])

    assert (tmp_path / "small.ckpt").stat().st_size < 100_000
    refused(tmp_path / "small.ckpt", "compressed")
    refused(tmp_path / "shared.ckpt", "shares its bytes")
    refused(tmp_path / "before.ckpt", "no directory where")
    refused(tmp_path / "after.ckpt", "damaged")
    assert files.read(whole)["bomb"].numel() == 5_000_000


def by_hand(path: Path, numel: int, parts: dict[str, bytes]) -> Path:
    """An archive whose pickle has a storage of so many items."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if obj == "here" else None

    text = io.BytesIO()
    Pickler(text, 2).dump({"state_dict": "here"})
    with zipfile.ZipFile(path, "w") as made:
        for name, data in {"data.pkl": text.getvalue(), "version": b"3\n", **parts}.items():
            made.writestr(f"archive/{name}", data)
    return path


def test_a_storage_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Its bytes must be in the file."""
    refused(by_hand(tmp_path / "a.ckpt", HUGE, {"data/0": bytes(16)}), "not there")
    refused(by_hand(tmp_path / "b.ckpt", 4, {}), "not there")
    refused(by_hand(tmp_path / "c.ckpt", -4, {"data/0": bytes(16)}), "storage of -4")


def test_a_program_is_no_checkpoint(tmp_path: Path) -> None:
    """TorchScript's archives are refused, also for one who trusts the file."""
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    with zipfile.ZipFile(tmp_path / "a.ckpt", "a") as parts:
        parts.writestr("a/constants.pkl", b"\x80\x02.")
    with pytest.raises(CheckpointError, match="TorchScript"):
        files.read(tmp_path / "a.ckpt", weights_only=False)


def test_many_small_things_are_counted(tmp_path: Path) -> None:
    """A byte that stands for an empty set becomes two hundred."""
    text = b"\x80\x04]q\x00(" + b"\x8f" * 500_000 + b"e."
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as made:
        made.writestr("archive/data.pkl", text)
    refused(tmp_path / "a.ckpt", "more than")


def test_a_number_for_a_memo_takes_no_memory(tmp_path: Path) -> None:
    """Pickle in C would make a table of four thousand million places."""
    text = b"\x80\x02]r\xff\xff\xff\xff."
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as made:
        made.writestr("archive/data.pkl", text)
    refused(tmp_path / "a.ckpt")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:TypedStorage is")
def test_what_is_real_is_read(tmp_path: Path) -> None:
    """Views, tied weights, odd dtypes, sparse tensors, subclasses and large histories."""
    weight = torch.randn(10, 10)
    parameter = torch.nn.Parameter(weight)
    parameter.mark = 1  # type: ignore[attr-defined]  # then its state is kept
    content = {
        "state_dict": OrderedDict(a=weight, tied=weight, view=weight.t()[2:], p=parameter),
        "odd": [torch.ones(2, dtype=t) for t in (torch.bfloat16, torch.bool, torch.complex64)],
        "small": torch.ones(3, dtype=torch.float8_e4m3fn),
        "unsigned": torch.ones(3, dtype=torch.uint16),
        "none": torch.empty(0, 3),
        "scalar": torch.tensor(3.0),
        "meta": torch.empty(1 << 20, 1 << 20, device="meta"),
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "mask": torch.ones(1, 8, 8).expand(16, 8, 8),
        "history": [{"loss": 0.5 * i, "epoch": i, "tags": []} for i in range(20_000)],
        "bytes": (b"\0\xff" * 10, bytearray(b"abc"), {1, 2}, 2j, torch.Size([2])),
    }
    for is_zip in (True, False):
        kept = content if is_zip else {k: v for k, v in content.items() if k not in OF_NOW}
        path = tmp_path / f"{is_zip}.ckpt"
        torch.save(kept, path, _use_new_zipfile_serialization=is_zip)
        read = files.read(path)
        assert torch.equal(read["state_dict"]["view"], weight.t()[2:])
        assert read["history"] == content["history"]
        assert read["bytes"] == content["bytes"]


OF_NOW = ("small", "unsigned")  # there were none before torch 1.6


def test_what_was_looked_at_is_what_is_read(tmp_path: Path) -> None:
    """The file is changed in place between the look and torch's reading: the pickle is the same."""
    path = saved({"word": "first"}, tmp_path / "a.ckpt")
    with open(path, "rb") as file:
        found = archive(file, "a")
        path.write_bytes(path.read_bytes().replace(b"first", b"other"))
        os.utime(path)
        read = torch.load(found.file, weights_only=True)

    assert read["bomb"] == {"word": "first"}


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
        "a0: &a0 {k: 1}\n"
        + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)),
        "a: " + "[" * 500 + "]" * 500,
        "a: " + "[" * 50_000 + "]" * 50_000,
    ],
    ids=["aliases", "merges", "nested", "nested deep"],
)
def test_yaml_that_grows_is_refused(text: str, tmp_path: Path) -> None:
    """A few lines that stand for more than a machine holds, or are nested without end."""
    with pytest.raises(ValueError, match=r"h\.yaml (has|is nested)"):
        load_yaml(text, "h.yaml")


def test_yaml_is_read() -> None:
    """Anchors and merges as people write them."""
    text = "base: &base {lr: 0.1, layers: [1, 2]}\none: {<<: *base, lr: 0.2}\ntwo: [*base, *base]\n"
    base = {"lr": 0.1, "layers": [1, 2]}

    assert load_yaml(text, "h.yaml") == {
        "base": base,
        "one": {"lr": 0.2, "layers": [1, 2]},
        "two": [base, base],
    }
    assert load_yaml("", "h.yaml") is None
