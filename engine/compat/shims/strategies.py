"""Kinds of strategies, for programs that ask of which one theirs is."""

from __future__ import annotations

from typing import Any, NoReturn

from engine.runtime.errors import MisconfigurationException
from engine.strategies import DDPStrategy

_RUNNING = ("ddp", "fsdp")


class _OfSeveral(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return getattr(instance, "runs_as", None) in _RUNNING or isinstance(instance, DDPStrategy)


class ParallelStrategy(metaclass=_OfSeveral):
    """What works with other processes; to ask with `isinstance` only."""

    def __init__(self, *_: Any, **__: Any) -> NoReturn:
        raise MisconfigurationException(
            "ParallelStrategy has nothing of its own here: give Trainer(strategy='ddp') or 'fsdp'"
        )
