"""The Trainer's arguments as a command line has them."""

from __future__ import annotations

from functools import partial
from typing import Any

from engine.compat.arguments.table import NEVER, OLD
from engine.compat.commandline.argparse import Argument
from engine.trainer.options import parsers
from engine.trainer.options.table import SHOWN, Option


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
