"""Processes that multiprocessing starts afresh know the names, too.

Such a process (method spawn or forkserver, as a DataLoader may want it) imports the main script and
unpickles objects in a new interpreter. The first thing that it reads is how to prepare itself: one
more entry there installs the names, before anything else happens.
"""

from __future__ import annotations

import sys
from typing import Any

_names: list[str] = []


class _Installed:
    """Unpickling it installs the names."""

    def __reduce__(self) -> tuple[Any, ...]:
        lines = [
            "import sys",
            f"sys.path[:] = {sys.path!r}",  # it has ours only after this has been read
            "from engine.compat import install",
            *(f"install({name!r})" for name in _names),
        ]
        return exec, ("\n".join(lines), {})


def carry_over(name: str) -> None:
    """From now on processes that multiprocessing starts install `name`."""
    from multiprocessing import spawn

    if name not in _names:
        _names.append(name)
    if len(_names) > 1 or hasattr(spawn.get_preparation_data, "with_aliases"):
        return
    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        if name == "ignore":  # of the fork server itself, which reads plain data only
            for key in ("main_path", "init_main_from_path", "init_main_from_name"):
                data.pop(key, None)
            return data
        return {"engine_compat": _Installed(), **data}

    get_preparation_data.__dict__["with_aliases"] = True
    spawn.get_preparation_data = get_preparation_data
