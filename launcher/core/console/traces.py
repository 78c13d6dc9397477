"""Tracebacks and stacks for people: their own frames, and one line for many of others. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# Compiled when they are used, and kept by re: every start imports this.
_FRAME = r'(?P<pad>[ |+]*)  File "(?P<file>[^"]*)", line \d+'
_INSTALLED = r"/(?:site|dist)-packages/(torch|engine|launcher|plaunch)/"
_PYTHON = r"/lib/python\d+\.\d+/(?!(?:site|dist)-packages/)|^<frozen "
_HERE = str(Path(__file__).parents[3])  # where an engine that isn't installed lies, too
_OURS = ("<plaunch>", "<string>")
_FATAL = "Fatal Python error: "
_STACK = r'  File ".*", line \d+ in |  Binary file |  \.\.\.|(?:Current t|T)hread 0x|Stack \(most'
_AROUND = r"Extension modules: |Current thread's C stack|\s*$"


def package_of(file: str) -> str | None:
    """Whose code a file is, if it is not the program's: torch, engine, or Python's library."""
    if file in _OURS:
        return "plaunch"
    found = re.search(_INSTALLED, file)
    if found is not None:
        return found[1]
    for name in ("engine", "launcher"):
        if file.startswith(f"{_HERE}/{name}/"):
            return name
    return "python" if re.search(_PYTHON, file) else None


def folded(text: str) -> list[str]:
    """The lines of a traceback, or of a stack, with one for each run of frames of others.

    As it is where no frame is the program's own.
    """
    lines = text.splitlines()
    owners: list[str | None] = []  # of each line; None: it stays
    owner, pad = None, ""
    own = False
    for line in lines:
        frame = re.match(_FRAME, line)
        if frame is not None:
            owner, pad = package_of(frame["file"]), frame["pad"]
            own = own or owner is None
        elif not line.startswith((f"{pad}    ", f"{pad}  [Previous line")):
            owner = None
        owners.append(owner)
    return _without(lines, owners) if own else lines


def _without(lines: Sequence[str], owners: Sequence[str | None]) -> list[str]:
    shown: list[str] = []
    run: list[str] = []  # the owner of each frame that is being left out
    pad = ""
    for line, owner in zip([*lines, ""], [*owners, None], strict=True):
        frame = re.match(_FRAME, line)
        if owner is not None:
            if frame is not None:
                run.append(owner)
                pad = frame["pad"]
            continue
        if run:
            names = " and ".join(dict.fromkeys(run))
            shown.append(f"{pad}  ... {len(run)} frame{'s' if len(run) > 1 else ''} in {names}")
            run = []
        shown.append(line)
    return shown[:-1]


def split_stack(lines: Sequence[str]) -> tuple[list[str], str]:
    """A rank's last lines without the stack that a crash has printed, and that stack.

    Other lines, which another thread or process may have printed into it, stay.
    """
    heads = [number for number, line in enumerate(lines) if line.startswith(_FATAL)]
    if not heads:
        return list(lines), ""
    rest, stack = list(lines[: heads[0]]), [lines[heads[0]]]
    for line in lines[heads[0] + 1 :]:
        if re.match(_STACK, line):
            if not any(f'File "{name}"' in line for name in _OURS):
                stack.append(line)
        elif not (re.match(_AROUND, line) or line.startswith(_FATAL)):
            rest.append(line)
    return rest, "\n".join(stack)
