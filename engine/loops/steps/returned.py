"""What hooks return beside what they are asked for: programs of 1.0 to 1.2 logged so."""

from __future__ import annotations

from typing import Any

from engine.loops.run import Run
from engine.runtime.compat_flags import compat_flags


def was_logged(run: Run, hook: str, returned: Any) -> bool:
    """Log what `hook` has returned, if the program's Lightning did; returns whether it was."""
    log = compat_flags.log_returned
    if log is None:
        return False
    with run.logged.within(hook):
        return log(run.module, hook, returned)
