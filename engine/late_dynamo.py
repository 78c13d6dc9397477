"""torch's compiler is imported when something is compiled, not with the first optimizer.

In torch 2.13 the first optimizer, and DistributedDataParallel, import ``torch._dynamo``, which
takes as long as importing torch itself: a second for each rank. All that they want of it is to mark
functions that shall not be compiled. So, until something else of it is asked for, a stand-in
answers those few questions, and then makes way: what it marked, the real one marks from then on.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import torch

NAME = "torch._dynamo"
KNOWN_TORCH = ("2.13.",)  # whose first optimizer asks for nothing else; others import as ever


class StandIn(types.ModuleType):
    """Looks like ``torch._dynamo``; any attribute that it lacks brings the real one."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.disable = disable
        self.graph_break = graph_break
        self.utils = types.SimpleNamespace(get_optimize_ddp_mode=get_optimize_ddp_mode)
        self.trace_rules = types.SimpleNamespace(clear_lru_cache=clear_lru_cache)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)  # what the import system looks at of any module
        return getattr(bring(), name)


def put_off() -> None:
    """Install the stand-in, unless the real one is there or this torch is not known."""
    if NAME not in sys.modules and torch.__version__.startswith(KNOWN_TORCH):
        stand_in = StandIn()
        sys.modules[NAME] = stand_in
        torch._dynamo = stand_in


def real() -> Any:
    """The real module if it has been imported, else None."""
    found = sys.modules.get(NAME)
    return None if isinstance(found, StandIn) else found


def bring() -> Any:
    """Import the real module in the stand-in's place."""
    if real() is None:
        sys.modules.pop(NAME, None)
        torch.__dict__.pop("_dynamo", None)
    import importlib

    return importlib.import_module(NAME)


# -- what optimizers and DistributedDataParallel ask for


def disable(
    function: Callable[..., Any], recursive: bool = True, *, wrapping: bool = True, **_: Any
) -> Callable[..., Any]:
    """The function itself, and once there is a compiler, the function as it disables it."""
    disabled: Callable[..., Any] | None = None

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            compiler = real()
            if compiler is None:
                return function(*args, **kwargs)
            disabled = compiler.disable(function, recursive, wrapping=wrapping)
        return disabled(*args, **kwargs)

    return call


def graph_break(*args: Any, **kwargs: Any) -> None:
    """Nothing is being compiled, unless the compiler is there."""
    compiler = real()
    if compiler is not None:
        compiler.graph_break(*args, **kwargs)


def get_optimize_ddp_mode() -> str:
    """The compiler's default, as long as nobody could have changed it."""
    compiler = real()
    return "ddp_optimizer" if compiler is None else str(compiler.utils.get_optimize_ddp_mode())


def clear_lru_cache() -> None:
    """There is nothing in a cache that is not there."""
    compiler = real()
    if compiler is not None:
        compiler.trace_rules.clear_lru_cache()
