"""What is refused, with what to use instead: an argument is never ignored."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import MisconfigurationException
from engine.options.table import INTERNAL, NEVER, OLD, SHOWN


def refuse(arguments: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The arguments without those that mean nothing; raises where one is unknown or refused."""
    kept = dict(arguments)
    known = {option.name for option in SHOWN} | set(INTERNAL)
    given, never = set(given), {refusal.name: refusal for refusal in NEVER}
    for name, value in arguments.items():
        if name in never:
            del kept[name]
            if not _is_one_of(value, never[name].neutral):
                raise MisconfigurationException(f"Trainer({name}={value!r}): {never[name].instead}")
        elif name not in known or (name in INTERNAL and name in given):
            raise TypeError(unknown(name))
    return kept


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    return any(value is one or value == one for one in values)


def unknown(name: str) -> str:
    """What to say of an argument that there is not, with the nearest that there is."""
    known = [row.name for row in (*SHOWN, *OLD)] + [row.name for row in NEVER]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"Trainer has no argument {name!r}{hint}"
