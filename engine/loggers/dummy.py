"""A logger that keeps nothing, and what loggers of one's own are written with."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from engine.loggers.base import Logger
from engine.runtime.distributed.world import on_rank_zero


class Silent:
    """Accepts every call and does nothing: the experiment of a rank that does not log."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Silent()

    def __call__(self, *args: Any, **kwargs: Any) -> Silent:
        """Do nothing."""
        return self

    def __getitem__(self, key: object) -> Silent:
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


DummyExperiment = Silent


class DummyLogger(Logger):
    """Takes everything and keeps nothing: in a fast_dev_run it stands for whichever loggers."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return Silent()  # a method that only another logger has, such as `watch`

    def __getitem__(self, index: int) -> Any:
        return self

    @property
    def name(self) -> str:
        """Empty."""
        return ""

    @property
    def version(self) -> str:
        """Empty."""
        return ""

    @property
    def experiment(self) -> Any:
        """Ignores whatever is asked."""
        return Silent()

    def log_metrics(self, *_: object, **__: object) -> None:
        """Do nothing."""

    def log_hyperparams(self, *_: object, **__: object) -> None:
        """Do nothing."""

    def log_graph(self, *_: object, **__: object) -> None:
        """Do nothing."""


def rank_zero_experiment(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorates `experiment`: on other ranks it is one that ignores whatever is asked."""

    @wraps(make)
    def experiment(self: Any) -> Any:
        real = make(self) if on_rank_zero() else None
        return Silent() if real is None else real

    return experiment
