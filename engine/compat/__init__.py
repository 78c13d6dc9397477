"""Code written for Lightning, run unedited: its module names, with the engine behind them.

`install("pytorch_lightning")` before the first import of it, `python -m engine.compat
pytorch_lightning old_train.py ...`, or `plaunch --compat pytorch_lightning old_train.py ...`. The
names exist in this process and in those that multiprocessing starts from it, nowhere else; an
installed Lightning is neither imported nor touched.
"""

from __future__ import annotations

from engine.compat.finder import NAMES, install

__all__ = ["NAMES", "install"]
