"""torch's compiler is imported when something is compiled, not with the first optimizer.

The first optimizer, and DistributedDataParallel, import ``torch._dynamo``, which takes as long as
importing torch itself: a second for each rank. All that they want of it is to mark functions that
shall not be compiled. So, until something else of it is asked for, a stand-in answers those few
questions, and then makes way: what it marked, the real one marks from then on.

It goes by what is asked, not by torch's version: what it does not know, and a known question that
is put in another way, brings the real one. Its answers are those that torch gives as long as
nothing has been compiled.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

NAME = "torch._dynamo"
_refuses = False  # a process that only tries whether it could do without


class StandIn(types.ModuleType):
    """Looks like ``torch._dynamo``; any attribute that it lacks brings the real one."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.disable = disable
        self.graph_break = graph_break
        self.utils = Part("utils", get_optimize_ddp_mode=get_optimize_ddp_mode)
        self.config = Part("config", _get_optimize_ddp_mode=get_optimize_ddp_mode)  # torch 2.4
        self.trace_rules = Part("trace_rules", clear_lru_cache=clear_lru_cache)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)  # what the import system looks at of any module
        return getattr(bring(), name)


class Part:
    """A module of ``torch._dynamo``, of which some functions are known."""

    def __init__(self, name: str, **known: Callable[..., Any]) -> None:
        self.__dict__.update(known, _name=name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(getattr(bring(), self._name), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(getattr(bring(), self._name), name, value)


def put_off() -> None:
    """Install the stand-in, unless the real one is there."""
    if NAME not in sys.modules:
        stand_in = StandIn()
        sys.modules[NAME] = stand_in
        torch._dynamo = stand_in


def suffices() -> bool:
    """Whether this torch trains with the stand-in alone; for a process that then ends.

    Asked by a fork server, which imports the compiler once for all of its ranks if it does not.
    """
    global _refuses
    put_off()
    _refuses = True
    try:
        _train()
    except _WantedError:
        return False
    return real() is None


class _WantedError(BaseException):
    """The compiler itself is asked for."""


def _train() -> None:
    """A step of each kind that any run takes."""
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    torch.optim.Adam(layer.parameters())
    if torch.distributed.is_available():
        from torch.distributed import HashStore  # type: ignore[attr-defined]  # torch exports it

        torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        torch.nn.parallel.DistributedDataParallel(layer)(torch.ones(1, 1)).sum().backward()


def real() -> Any:
    """The real module if it has been imported, else None."""
    found = sys.modules.get(NAME)
    return None if isinstance(found, StandIn) else found


def bring() -> Any:
    """Import the real module in the stand-in's place."""
    if _refuses:
        raise _WantedError
    if real() is None:
        sys.modules.pop(NAME, None)
        torch.__dict__.pop("_dynamo", None)
    import importlib

    return importlib.import_module(NAME)


# -- what optimizers and DistributedDataParallel ask for


def disable(function: Any = None, recursive: bool = True, **others: Any) -> Any:
    """The function itself, and once there is a compiler, the function as it disables it."""
    if not callable(function) or not others.keys() <= {"wrapping", "reason"}:
        return bring().disable(function, recursive, **others)
    disabled: Callable[..., Any] | None = None

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            compiler = real()
            if compiler is None:
                return function(*args, **kwargs)
            disabled = compiler.disable(function, recursive, **others)
        return disabled(*args, **kwargs)

    return call


def graph_break(*args: Any, **kwargs: Any) -> None:
    """Nothing is being compiled, unless the compiler is there."""
    compiler = real()
    if compiler is not None:
        compiler.graph_break(*args, **kwargs)


def get_optimize_ddp_mode() -> str:
    """The compiler's default, as long as nobody could have changed it."""
    if real() is None and _ddp_is_optimized():
        return "ddp_optimizer"
    return str(bring().utils.get_optimize_ddp_mode())


def _ddp_is_optimized() -> bool:
    """Whether the default of this torch is the one that we know: its file says so."""
    import re

    try:
        text = Path(torch.__path__[0], "_dynamo", "config.py").read_text(encoding="utf-8")
    except OSError:
        return False
    # One line, or a type in brackets on several and the value behind them.
    return re.search(r"^optimize_ddp\b(:[^=]*)? = True$", text, re.MULTILINE) is not None


def clear_lru_cache() -> None:
    """There is nothing in a cache that is not there."""
    compiler = real()
    if compiler is not None:
        compiler.trace_rules.clear_lru_cache()
