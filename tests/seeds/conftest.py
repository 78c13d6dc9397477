"""Old code, unedited: `pytorch_lightning` is the engine here, torchvision a few lines of ours."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from multiprocessing import spawn
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from engine.compat.imports import finder, spawned
from engine.runtime.compat_flags import compat_flags
from tests.engine.conftest import _seed_as_before, _signals_as_before
from tests.seeds import torchvision_stub
from tests.seeds.repairs import Repair, repaired

__all__ = ["_seed_as_before", "_signals_as_before"]  # fixtures of the engine's tests
HERE = Path(__file__).parent
STANDS_FOR = ("lightning", "pl_bolts", "pytorch_lightning")


@pytest.fixture(scope="module", autouse=True)
def _old_names() -> Iterator[None]:
    """`import pytorch_lightning` finds the engine, while the tests of one file run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "meta_path", list(sys.meta_path))
        patch.setattr(spawn, "get_preparation_data", spawn.get_preparation_data)
        patch.setattr(spawned, "_names", [])
        patch.setattr(finder, "_finder", finder.Finder())
        for name, default in vars(compat_flags).items():  # that 1.x changes
            patch.setattr(compat_flags, name, default)
        for name, module in torchvision_stub.modules().items():
            patch.setitem(sys.modules, name, module)
        finder.install("pytorch_lightning")
        yield
        for name in [n for n in sys.modules if n.partition(".")[0] in STANDS_FOR]:
            del sys.modules[name]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old code writes where it stands."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def old(_old_names: None) -> Callable[[str], ModuleType]:
    """Import a file of old code by its name; each test file has it anew."""
    modules: dict[str, ModuleType] = {}

    def load(name: str) -> ModuleType:
        if name not in modules:
            spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[name])
        return modules[name]

    return load


@pytest.fixture
def run_block() -> Callable[..., dict[str, Any]]:
    """Run a block as printed, after its repairs, with the names that blocks before it have made."""

    def run(text: str, repairs: tuple[Repair, ...] = (), **names: Any) -> dict[str, Any]:
        namespace = {"__name__": "block", **names}
        exec(compile(repaired(text, repairs), "block", "exec"), namespace)
        return namespace

    return run
