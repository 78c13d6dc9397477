"""The command that goes on with a run, whole and quoted for a shell. Pure.

No value of a variable stands in it: it would be in a log then.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

from launcher.core.job import Program, RunOptions
from launcher.core.options import OPTIONS
from launcher.request.words import command_words

NOT_AGAIN = ("restart",)  # or what is there would be thrown away


def resume_command(
    options: RunOptions, program: Program, run_dir: str, environ: Mapping[str, str]
) -> str | None:
    """``plaunch --run-dir ... train.py args``; None for a function, which is no command's.

    Variables are named: those that are not set as they were are to be set before.
    """
    if program.kind == "function":
        return None
    others = [name for name in OPTIONS if name not in ("run_dir", *NOT_AGAIN)]
    words = ["plaunch", *command_words(replace(options, run_dir=run_dir), ["run_dir", *others])]
    words += [] if program.compat is None else ["--compat", program.compat]
    words += {"module": ["-m"], "program": ["--no-python"]}.get(program.kind, [])
    if program.target.startswith("-"):
        words.append("--")
    line = shlex.join([*words, program.target, *program.args])
    unset = [name for name, value in options.env.items() if environ.get(name) != value]
    return line if not unset else f"{line}   # first set {', '.join(unset)}"
