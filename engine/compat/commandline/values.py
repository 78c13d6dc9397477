"""From words on a command line to the values that one would write in Python."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

_YES, _NO = ("true", "t", "yes", "y", "on", "1"), ("false", "f", "no", "n", "off", "0")
_WORDS = {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}


def readings(text: str, like: Any = None) -> Iterator[Any]:
    """What `text` may mean, the likeliest first; `like` is a value of the kind that is wanted."""
    word = text.strip()
    if word in ("None", "none", "null"):
        yield None
    if word in ("True", "False") or (isinstance(like, bool) and word.lower() in _WORDS):
        yield _WORDS[word.lower()]
    for number in (int, float):
        try:
            yield number(word)
        except ValueError:
            continue
    if word[:1] in ("{", "[", "("):
        with suppress(ValueError, SyntaxError):
            yield ast.literal_eval(word)
    yield text


def read(text: str, parse: Callable[[Any], Any], like: Any = None) -> Any:
    """The first reading of `text` that `parse` takes; raises as it does where there is none."""
    error: Exception | None = None
    for value in readings(text, like):
        try:
            parsed = parse(value)
        except (ValueError, TypeError) as refusal:
            error = error or refusal
        else:
            return parsed if isinstance(parsed, (bool, float)) else value
    raise error or ValueError("something else")
