"""What the Lightning did, by default, that a program was written for: `engine.compat` sets it.

A program that imports the engine by its own name, or the names of 2.x, has what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CompatFlags:
    """Defaults that were others in 1.x."""

    find_unused_parameters: bool = False  # of DDP, where a program does not say it


compat_flags = CompatFlags()
