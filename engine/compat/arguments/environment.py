"""Arguments from the environment, as 1.x has them: PL_TRAINER_MAX_EPOCHS=3."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

from engine.compat.arguments.shell import shell_arguments
from engine.runtime.errors import MisconfigurationException

PREFIX = "PL_TRAINER_"


def from_environment(
    given: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """What the environment says of arguments that the program does not give.

    Values are read as on a command line; raises where one is wrong or no argument has the name.
    """
    words = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    if not words:
        return {}
    known = {argument.name.upper(): argument for argument in shell_arguments()}
    found: dict[str, Any] = {}
    for word, text in words.items():
        argument = known.get(word.removeprefix(PREFIX))
        if argument is None:
            nearest = difflib.get_close_matches(word.removeprefix(PREFIX), known, 1)
            hint = f": did you mean {PREFIX}{nearest[0]}?" if nearest else ""
            raise MisconfigurationException(
                f"{word} in the environment is no argument of the Trainer{hint}"
            )
        if argument.name in given:
            continue
        try:
            found[argument.name] = argument.read(text)
        except (ValueError, TypeError) as error:
            raise MisconfigurationException(
                f"{word}={text} in the environment: give {error}"
            ) from None
    return found


def said(found: Mapping[str, Any]) -> list[str]:
    """One line for each: nobody should look for what is not in the program."""
    return [
        f"{PREFIX}{name.upper()} in the environment counts: Trainer({name}={value!r})"
        for name, value in found.items()
    ]
