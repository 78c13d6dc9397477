"""What programs of 1.x take for granted, and later ones don't."""

from __future__ import annotations

from engine.compat.versions.returned import log_returned
from engine.runtime.compat_flags import compat_flags


def set_for_version_1() -> None:
    """From now on this process has the defaults of 1.x; of those that changed within, the most
    lenient.
    """
    compat_flags.find_unused_parameters = True
    compat_flags.needs_test_step = False
    compat_flags.log_returned = log_returned
