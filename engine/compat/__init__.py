"""Code written for Lightning, run unedited: its module names, with the engine behind them.

`install("pytorch_lightning")` before the first import of it, `python -m engine.compat
pytorch_lightning old_train.py ...`, or `plaunch --compat pytorch_lightning old_train.py ...`. The
names exist in this process and in those that multiprocessing starts from it, nowhere else; an
installed Lightning is neither imported nor touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.compat.imports.finder import NAMES, install

__all__ = ["NAMES", "install"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from engine.compat.imports import finder

    return getattr(finder, name)
