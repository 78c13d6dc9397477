"""The threads that run gloo's collectives: no process may end a group that they still work for.

Such a thread may need the interpreter's lock to free the tensors of the last collective. If the
main thread, which has it, ends the process group meanwhile, it waits for that thread for ever; if
the interpreter has ended, the process is aborted. The launcher does the same for other programs.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

NAME = "pt_gloo_runloop"
IDLE_S = 0.011  # who waits for the interpreter's lock stirs every 5 ms
LIMIT_S = 2.0
UNKNOWN_S = 0.05  # where threads have no such names, as in torch 2.9: nearly always long enough


def settle() -> None:
    """Wait, without the interpreter's lock, until none of the threads has anything left to do."""
    give_up = time.monotonic() + LIMIT_S
    before = _seen()
    if not before:
        time.sleep(UNKNOWN_S)
    while before and time.monotonic() < give_up:
        time.sleep(IDLE_S)
        now = _seen()
        if now == before and all(lines[0] == "S" for lines in now.values()):
            return
        before = now


def _seen() -> dict[str, list[str]]:
    """By thread: its state, and how often the kernel has switched to it, by will and by force."""
    found = {}
    with suppress(OSError):  # no Linux
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                if (task / "comm").read_text().strip() == NAME:
                    lines = map(str.split, (task / "status").read_text().splitlines())
                    facts = ("State:", "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
                    found[task.name] = [line[1] for line in lines if line[0] in facts]
    return found
