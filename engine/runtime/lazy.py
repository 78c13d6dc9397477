"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def on_demand(package: str, members: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package: `members` says which module has each name."""

    def look_up(name: str) -> Any:
        if name not in members:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(members[name]), name)

    return look_up
