"""The command line: arguments to calls, and text back. May import every other package."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (None: ``sys.argv``) asks for; returns its exit code."""
    from launcher.cli.command import main

    return main(argv)
