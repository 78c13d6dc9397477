"""How long: the forms in which a time can be given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any


def duration(value: Any) -> timedelta | None:
    """A time as "DD:HH:MM:SS", a dict of timedelta's words, or a timedelta."""
    if value is None:
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+):(\d\d?):(\d\d?):(\d\d?)", value.strip())
        if match is not None:
            days, hours, minutes, seconds = map(int, match.groups())
            value = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif isinstance(value, Mapping):
        with suppress(TypeError):  # of words that timedelta does not know
            value = timedelta(**value)
    if isinstance(value, timedelta) and value >= timedelta(0):
        return value
    raise ValueError("'DD:HH:MM:SS', a dict such as {'hours': 2}, or a timedelta")
