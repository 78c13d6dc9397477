"""The table in words: a signature, and what each argument means."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from engine.compat.commandline.argparse import Argument
from engine.runtime.settings import Settings
from engine.trainer.options import parsers
from engine.trainer.options.table import NEVER, OLD, SHOWN, Option


def signature() -> inspect.Signature:
    """The signature of the Trainer, from the table."""
    kind = inspect.Parameter
    known = [kind("self", kind.POSITIONAL_OR_KEYWORD)]
    known += [kind(option.name, kind.KEYWORD_ONLY, default=option.default) for option in SHOWN]
    return inspect.Signature([*known, kind("arguments", kind.VAR_KEYWORD)])


def description() -> str:
    """What each argument of the Trainer means, from the table."""
    lines = [f"{option.name}: {option.meaning} (default {option.default})" for option in SHOWN]
    old = [f"{option.name}: 1.x's word for {option.meaning}" for option in OLD]
    return "\n".join([*lines, *old])


def notices(given: Mapping[str, Any], settings: Settings) -> list[str]:
    """What a person should know before the training about what was given, or was not."""
    lines = []
    backend = given.get("distributed_backend")
    if backend is not None:
        lines.append(f"distributed_backend={backend!r} is an old word for strategy: it will do")
    fit, output = settings.fit, settings.output
    if given.get("max_epochs") is None and fit.max_epochs == 1000 and not output.fast_dev_run:
        lines.append("max_epochs was not given: 1000 it is (-1 trains without end)")
    return lines


def shell_arguments() -> list[Argument]:
    """The arguments as the command line has them, those too that are only there to be refused."""
    arguments = [
        Argument(row.name, row.default, row.meaning, row.parse, _types(row))
        for row in (*SHOWN, *OLD)
    ]
    for row in NEVER:
        meaning, parse = "not supported", partial(_refused, row.neutral, row.instead)
        arguments.append(Argument(row.name, row.neutral[0], meaning, parse, (type(None),)))
    return arguments


def _types(row: Option) -> tuple[Any, ...]:
    takes_true = (parsers.keeps, parsers.optional_flag, parsers.profiler, parsers.scaling)
    return (type(row.default), *((bool,) if row.parse in takes_true else ()))


def _refused(neutral: tuple[Any, ...], instead: str, value: Any) -> Any:
    if value in neutral:
        return value
    raise ValueError(f"nothing: {instead}")
