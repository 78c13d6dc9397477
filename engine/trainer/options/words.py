"""The table in words: a signature, and what each argument means."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from engine.runtime.settings import Settings
from engine.trainer.options.table import SHOWN


def signature() -> inspect.Signature:
    """The signature of the Trainer, from the table."""
    kind = inspect.Parameter
    known = [kind("self", kind.POSITIONAL_OR_KEYWORD)]
    known += [kind(option.name, kind.KEYWORD_ONLY, default=option.default) for option in SHOWN]
    return inspect.Signature([*known, kind("arguments", kind.VAR_KEYWORD)])


def description() -> str:
    """What each argument of the Trainer means, from the table."""
    return "\n".join(
        f"{option.name}: {option.meaning} (default {option.default})" for option in SHOWN
    )


def notices(given: Mapping[str, Any], settings: Settings) -> list[str]:
    """What a person should know before the training about what was given, or was not."""
    lines = []
    fit, output = settings.fit, settings.output
    if given.get("max_epochs") is None and fit.max_epochs == 1000 and not output.fast_dev_run:
        lines.append("max_epochs was not given: 1000 it is (-1 trains without end)")
    return lines
