"""The engine's public names and how they are called, one a line.

`python tests/engine/public_api.py` writes them to public_api.txt: do that for a change that is
meant, together with its line in the changelog.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".txt")
PACKAGES = (
    "engine",
    "engine.callbacks",
    "engine.compat",
    "engine.loggers",
    "engine.metrics",
    "engine.profilers",
    "engine.strategies",
    "engine.tuner",
)


def public_api() -> list[str]:
    """All of it, sorted. What a class has of another public class is said there only."""
    named = {
        f"{package}.{name}": getattr(module, name)
        for package in PACKAGES
        for module in [importlib.import_module(package)]
        for name in getattr(module, "__all__", ())
    }
    shortest: dict[Any, str] = {}
    for path, value in sorted(named.items(), key=lambda item: item[0].count(".")):
        if isinstance(value, type):
            shortest.setdefault(value, path)
    found: set[str] = set()
    for path, value in named.items():
        found.add(path if inspect.ismodule(value) else f"{path}{_signature(value)}")
        if shortest.get(value if isinstance(value, type) else None) == path:
            found.update(f"{path}.{line}" for line in _members(value, set(shortest)))
    return sorted(found)


def _members(cls: type, public: set[type]) -> Iterator[str]:
    """A class's own public names, and those of its bases that have no page of their own."""
    bases = [one for one in cls.__mro__[1:] if one in public]
    known = {line for base in bases for line in _all_members(base)}
    yield from (line for line in _all_members(cls) if line not in known)


def _all_members(cls: type) -> list[str]:
    ours = [one for one in cls.__mro__ if one.__module__.startswith("engine.")]
    names = sorted({name for one in ours for name in vars(one) if not name.startswith("_")})
    return [f"{name}{_member(inspect.getattr_static(cls, name))}" for name in names]


def _member(value: Any) -> str:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    return _signature(value) if inspect.isfunction(value) else ""


def _signature(value: Any) -> str:
    """How it is called: names and defaults; annotations are not part of it."""
    if not callable(value):
        return ""
    try:
        found = inspect.signature(value)
    except ValueError:
        return ""
    parameters = [_plain(one) for one in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    changed = parameter.replace(annotation=inspect.Parameter.empty)
    default = changed.default
    if default is not inspect.Parameter.empty and " at 0x" in repr(default):
        changed = changed.replace(default=...)
    return changed


if __name__ == "__main__":
    FILE.write_text("\n".join(public_api()) + "\n")
