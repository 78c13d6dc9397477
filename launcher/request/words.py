"""Options as the words of a command. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from launcher.core.job import RunOptions
from launcher.core.options import OPTIONS, Kind

_DEFAULTS = RunOptions()


def is_given(options: RunOptions, name: str) -> bool:
    """Whether an option has another value than its default."""
    return bool(getattr(options, name) != getattr(_DEFAULTS, name))


def command_words(options: RunOptions, names: Iterable[str]) -> list[str]:
    """The words of a command line that say the same as these options; defaults are left out.

    Of a variable there is the name only: a value would be in a log then.
    """
    words: list[str] = []
    for name in names:
        if not is_given(options, name):
            continue
        word, value = OPTIONS[name].word, getattr(options, name)
        if OPTIONS[name].kind == "flag":
            words.append(word)
            continue
        for text in _texts(OPTIONS[name].kind, value):
            words += [f"{word}={text}"] if text.startswith("-") else [word, text]
    return words


def _texts(kind: Kind, value: Any) -> list[str]:
    if kind in ("texts", "variables"):
        return list(value)
    if kind == "nodes":
        least, most = value
        return [str(least) if least == most else f"{least}:{most}"]
    return [f"{value:g}" if kind == "seconds" else str(value)]
