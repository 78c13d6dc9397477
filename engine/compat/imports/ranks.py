"""The rank that `lightning_utilities` knows: where Lightning is imported, it is set."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from engine.runtime.distributed.slurm_env import torchrun_variables

MODULE = "lightning_utilities.core.rank_zero"


def spec_with_rank(path: Sequence[str] | None) -> ModuleSpec | None:
    """A spec of the installed module, which gets the rank when it is imported."""
    spec = PathFinder.find_spec(MODULE, path)
    loader: Any = None if spec is None else spec.loader
    if loader is None:
        return spec
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        set_rank(module)

    loader.exec_module = exec_module
    return spec


def set_rank(module: ModuleType | None) -> None:
    """Say the rank to the module, unless the program did, or it is not imported yet."""
    function = getattr(module, "rank_zero_only", None)
    if function is not None and getattr(function, "rank", None) is None:
        function.rank = rank()


def set_now() -> None:
    """Say it to the module if it has been imported."""
    set_rank(sys.modules.get(MODULE))


def rank() -> int:
    """The rank that the launcher gave to this process."""
    return int(os.environ.get("RANK") or torchrun_variables(os.environ).get("RANK", "0"))
