"""The command that goes on with a run, whole and quoted for a shell. Pure.

No value of a variable stands in it: it would be in a log then.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from launcher.core.job import Program
from launcher.request.request import SUBMIT_OPTIONS, Wanted


def again(wanted: Wanted, program: Program, run_dir: str, environ: Mapping[str, str]) -> str | None:
    """``plaunch --run-dir ... train.py args``; None for a function, which is no command's.

    Variables are named: those that are not set as they were are to be set before.
    """
    if program.kind == "function":
        return None
    options = {
        "--run-dir": run_dir,
        "--cluster": wanted.cluster,
        "--hosts": wanted.hosts,
        "--nodes": _nodes(wanted.nodes),
        "--gpus": wanted.gpus,
        "--procs": wanted.procs,
        "--max-restarts": wanted.max_restarts or None,
        "--grace": None if wanted.grace_s == Wanted.grace_s else f"{wanted.grace_s:g}",
        "--timeout": None if wanted.timeout_s is None else f"{wanted.timeout_s:g}",
        "--wait": None if wanted.wait_s is None else f"{wanted.wait_s:g}",
        "--env": tuple(wanted.env),
        "--preload": wanted.preload,
        "--start": None if wanted.start == Wanted.start else wanted.start,
        "--result": wanted.result_file,
        **{option: getattr(wanted, name) for name, option in SUBMIT_OPTIONS.items()},
        "--compat": program.compat,
    }
    words = ["plaunch"]
    for name, value in options.items():
        if value is True:
            words.append(name)
            continue
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if one not in (None, False):
                word = str(one)
                words += [f"{name}={word}"] if word.startswith("-") else [name, word]
    words += {"module": ["-m"], "program": ["--no-python"]}.get(program.kind, [])
    if program.target.startswith("-"):
        words.append("--")
    line = shlex.join([*words, program.target, *program.args])
    unset = [name for name, value in wanted.env.items() if environ.get(name) != value]
    return line if not unset else f"{line}   # first set {', '.join(unset)}"


def _nodes(nodes: tuple[int, int] | None) -> str | None:
    if nodes is None:
        return None
    least, most = nodes
    return str(least) if least == most else f"{least}:{most}"
