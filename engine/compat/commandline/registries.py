"""Registries that classes are put into by a decorator, and objects made of a dict."""

from __future__ import annotations

import importlib
from typing import Any


class Registry(dict[str, type]):
    """Classes by name: `@REGISTRY` puts one in."""

    def __call__(self, cls: type, key: str | None = None, override: bool = False) -> type:
        """Put a class in; returns it."""
        if override or (key or cls.__name__) not in self:
            self[key or cls.__name__] = cls
        return cls

    def register_classes(self, module: Any, base: type, override: bool = False) -> None:
        """Put in all classes of a module that inherit from `base`."""
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value is not base:
                self(value, override=override)

    @property
    def names(self) -> list[str]:
        """What is in it."""
        return list(self)

    @property
    def classes(self) -> tuple[type, ...]:
        """The classes that are in it."""
        return tuple(self.values())


class _Strategies:
    """The words for `Trainer(strategy=...)`."""

    def available_strategies(self) -> list[str]:
        """All of them."""
        from engine.strategies.declared.requested import WORDS

        return sorted(WORDS)


StrategyRegistry = _Strategies()

CALLBACK_REGISTRY = Registry()
DATAMODULE_REGISTRY = Registry()
LOGGER_REGISTRY = Registry()
LR_SCHEDULER_REGISTRY = Registry()
MODEL_REGISTRY = Registry()
OPTIMIZER_REGISTRY = Registry()


def instantiate_class(args: Any, init: dict[str, Any]) -> Any:
    """An object of the class `init["class_path"]`, made with `args` and `init["init_args"]`."""
    module, _, name = init["class_path"].rpartition(".")
    given = args if isinstance(args, tuple) else (args,)
    return getattr(importlib.import_module(module), name)(*given, **init.get("init_args", {}))
