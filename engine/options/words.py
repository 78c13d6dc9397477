"""The table in words: a signature, and what each argument means."""

from __future__ import annotations

import inspect

from engine.options.refusals import LATER
from engine.options.table import OLD, SHOWN


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
    later = [f"not supported yet: {', '.join(LATER)}"] if LATER else []
    return "\n".join([*lines, *old, *later])
