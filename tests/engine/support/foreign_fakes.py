"""Libraries of other services that only note what they are asked for."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class Noted:
    """Takes every call, and keeps (name, arguments, options) in `calls`."""

    def __init__(self, calls: list[Any] | None = None, path: str = "", **values: Any) -> None:
        self.__dict__.update(calls=[] if calls is None else calls, path=path, **values)

    def __getattr__(self, name: str) -> Noted:
        if name.startswith("__"):
            raise AttributeError(name)
        return Noted(self.calls, f"{self.path}.{name}".lstrip("."))

    def __getitem__(self, name: str) -> Noted:
        return Noted(self.calls, f"{self.path}[{name}]")

    def __setitem__(self, name: str, value: Any) -> None:
        self.calls.append((f"{self.path}[{name}] =", (value,), {}))

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls.append((self.path, args, options))
        return self

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Arguments and options of all calls of one name, in order."""
        return [(args, options) for called, args, options in self.calls if called == name]


def install(monkeypatch: Any, name: str, **attributes: Any) -> ModuleType:
    """Put a library `name` with these attributes where `import` finds it."""
    module = ModuleType(name)
    module.__dict__.update(attributes)
    monkeypatch.setitem(sys.modules, name, module)
    return module
