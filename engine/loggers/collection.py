"""Several loggers of one trainer: what `trainer.logger` was for them in 1.x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class _StandsForAll(type):
    """Which loggers are a LoggerCollection: the first of those in a list."""

    def __instancecheck__(cls, instance: object) -> bool:
        loggers: Sequence[Any] = getattr(instance, "_trainer_loggers", None) or ()
        return bool(loggers) and loggers[0] is instance

    def __call__(cls, loggers: Iterable[Any]) -> list[Any]:
        """What a Trainer takes several loggers as."""
        return list(loggers)


class LoggerCollection(metaclass=_StandsForAll):
    """What 1.x made of `logger=[first, second]`, to ask whether `trainer.logger` is one."""


class TrainerLoggers(tuple[Any, ...]):
    """All loggers of a trainer that was given a list; each of them knows the others."""

    def experiments(self, first: object) -> Experiments:
        """What `experiment` of the first logger is, which answers for all; `first` is its own."""
        return Experiments(first, self[1:])


class Experiments:
    """`self.logger.experiment` of a list of loggers: in 1.x a list, in 2.x that of the first.

    A number gives one of them, everything else is asked of the first.
    """

    def __init__(self, first: Any, others: Sequence[Any]) -> None:
        self.__dict__.update(_first=first, _others=others)

    def __getitem__(self, key: object) -> Any:
        if not isinstance(key, int):
            return self._first[key]
        index = range(len(self))[key]
        return self._others[index - 1].experiment if index else self._first

    def __len__(self) -> int:
        return 1 + len(self._others)

    def __setitem__(self, key: object, value: object) -> None:
        self._first[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._first, name, value)

    @property  # type: ignore[misc]  # what isinstance asks, where the type itself is another
    def __class__(self) -> Any:
        return type(self._first)
