"""The ``plaunch`` command: finds the launcher that belongs to it, whatever else has its name."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

BESIDE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class OwnLauncher:
    """Finds ``launcher`` beside us, before a user's own one on PYTHONPATH or in the folder."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A spec for the package itself; its modules are then found by its own path."""
        return PathFinder.find_spec(name, [BESIDE]) if name == "launcher" else None


def main() -> int:
    """Run the command; returns its exit code."""
    finder: Any = OwnLauncher
    sys.meta_path.insert(0, finder)
    from launcher.cli.command import main

    return main()
