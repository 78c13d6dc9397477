"""What programs of 1.x take for granted, and later ones don't."""

from __future__ import annotations

from engine.compat_flags import compat_flags


def set_for_version_1() -> None:
    """From now on this process has the defaults of 1.x."""
    compat_flags.find_unused_parameters = True
