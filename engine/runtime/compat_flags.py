"""What the Lightning did, by default, that a program was written for: `engine.compat` sets it.

A program that imports the engine by its own name, or the names of 2.x, has what stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class CompatFlags:
    """Defaults that were others in 1.x."""

    find_unused_parameters: bool = False  # of DDP, where a program does not say it
    needs_test_step: bool = True  # trainer.test raises without one; else it warns
    # Logs what a hook returned (module, name of the hook, value), if it is something to log.
    log_returned: Callable[[Any, str, Any], bool] | None = None


compat_flags = CompatFlags()
