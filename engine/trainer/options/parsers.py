"""What each argument may be: a parser takes a value, and raises ValueError with what to give."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from engine.runtime.settings import OptimizerSteps, duration

Parser = Callable[[Any], Any]


def as_list(value: Any) -> list[Any]:
    """None, one, or any iterable of several, as a list; a set in an order that all ranks have."""
    if value is None:
        return []
    is_one = isinstance(value, (str, bytes, Mapping)) or any(
        hasattr(value, name) for name in ("on_fit_start", "log_metrics")
    )
    if is_one or not isinstance(value, Iterable):
        return [value]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda one: (type(one).__module__, type(one).__qualname__))
    return list(value)


def several(value: Any) -> list[Any] | None:
    """One or any iterable of several; an iterator is walked through once."""
    return None if value is None else as_list(value)


def as_is(value: Any) -> Any:
    """Anything."""
    return value


def flag(value: Any) -> bool:
    """True or False; numbers as Python reads them."""
    if isinstance(value, (bool, int)):
        return bool(value)
    raise ValueError("True or False")


def optional_flag(value: Any) -> bool | None:
    """True, False or None."""
    return None if value is None else flag(value)


def keeps(value: Any) -> Any:
    """Whether checkpoints are kept, or, as in 1.0, the callback that keeps them."""
    if value is None or isinstance(value, bool) or hasattr(value, "best_model_path"):
        return value
    raise ValueError("True, False or a ModelCheckpoint")


def at_least_one(value: Any) -> int:
    """A number of 1 or more."""
    if value != 0:
        return count(value)
    raise ValueError("a number of 1 or more")


def count(value: Any) -> int:
    """A number of 0 or more; infinity is one that is never reached."""
    if value == float("inf"):
        return sys.maxsize
    if isinstance(value, float) and value.is_integer():  # 1e5
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a number of 0 or more")


def optional_count(value: Any) -> int | None:
    """A number of 0 or more, or None."""
    return None if value is None else count(value)


def count_or_all(value: Any) -> int:
    """A number of 0 or more, or -1."""
    try:
        return -1 if value in (-1, None) else count(value)
    except ValueError:
        raise ValueError("a number of 0 or more, or -1") from None


def epochs(value: Any) -> int | None:
    """A number of epochs, -1 or None."""
    return None if value is None else count_or_all(value)


def share_or_count(value: Any) -> int | float:
    """A float is a share, an int a number."""
    if isinstance(value, float) and 0.0 <= value <= 1.0:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a share between 0.0 and 1.0, or a number of batches (an int)")


def interval(value: Any) -> int | float | OptimizerSteps | timedelta:
    """A share of an epoch, a number of training batches or of optimizer steps ("500opt"), or a
    time.
    """
    if isinstance(value, str) and value.endswith("opt") and value[:-3].strip().isdigit():
        value = OptimizerSteps(int(value[:-3]))
    if isinstance(value, OptimizerSteps) and value.number > 0:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, float) and 0.0 < value <= 1.0:
        return value
    with suppress(ValueError, TypeError):
        time = duration(value)
        if time:
            return time
    raise ValueError(
        "a share of an epoch (up to 1.0), a number of training batches (an int), or of optimizer "
        "steps ('500opt'), or a time ('DD:HH:MM:SS', a dict or a timedelta)"
    )


def accumulation(value: Any) -> int | dict[int, int]:
    """A number of batches, or one for each epoch from which on it counts."""
    if isinstance(value, Mapping):
        schedule = {count(epoch): count(number) for epoch, number in value.items()}
        if schedule and min(schedule.values()) > 0:
            return {0: 1, **schedule}
    elif count(value) > 0:
        return count(value)
    raise ValueError("a number of 1 or more, or {epoch: number}")


def optional_number(value: Any) -> float | None:
    """A number of 0 or more, or None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None or (is_number and value >= 0):
        return None if value is None else float(value)
    raise ValueError("a number of 0 or more, or None")


def norm(value: Any) -> float | str:
    """The p of a p-norm: a number above 0, "inf", or -1 for none."""
    if value == "inf":
        return "inf"
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if number > 0 or number == -1:
            return "inf" if number == float("inf") else number
    raise ValueError("a number above 0, 'inf', or -1 for none")


def one_of(*words: Any) -> Parser:
    """One of a few words."""

    def parse(value: Any) -> Any:
        if not any(value is word or value == word for word in words):
            raise ValueError(f"one of {', '.join(map(str, words))}")
        return value

    return parse


def profiler(value: Any) -> Any:
    """A profiler by name, or one."""
    if value is None or value is False or value == "passthrough":
        return None
    if value is True:
        return "simple"
    if value in ("simple", "advanced", "pytorch"):
        return value
    methods = ("profile", "start", "stop", "setup", "describe", "teardown")
    has_all = all(callable(getattr(value, name, None)) for name in methods)
    if has_all and not isinstance(value, type):
        return value
    raise ValueError("'simple', 'advanced', 'pytorch' or an object of engine.profilers")


def accelerator(value: Any) -> str | None:
    """What to compute on; in 1.x also how the ranks work together."""
    if value is None or isinstance(value, str):
        return None if value is None else value.lower()
    raise ValueError("'cpu', 'gpu', 'mps' or 'auto', or a CPUAccelerator() or GPUAccelerator()")


def strategy(value: Any) -> Any:
    """How the ranks work together: a word, or an object."""
    return value.lower() if isinstance(value, str) else value


def words(value: Any) -> str | None:
    """A word or a path, as it is."""
    if value is None or isinstance(value, (str, os.PathLike)):
        return None if value is None else os.fspath(value)
    raise ValueError("a text")


def devices(value: Any) -> int | list[int] | str | None:
    """How many devices, or which; None leaves that open.

    A number counts, in a text as well; a list, or a text with commas, names; -1 is all of them, and
    "auto" all GPUs, but one process on a CPU.
    """
    if value == "auto":
        return "auto"
    if isinstance(value, str):
        value = _of_text(value.strip())
    if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
        value = list(value)
        if all(isinstance(one, str) for one in value):
            value = [_of_text(one.strip()) for one in value]
        named = [one for one in value if isinstance(one, int) and not isinstance(one, bool)]
        if len(named) == len(value) and min(named, default=0) >= 0:
            if len(set(named)) < len(named):
                raise ValueError("each device once")
            return named
    elif value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= -1):
        return value
    raise ValueError("a number, -1 for all, a list such as [0, 1], or '0,1'")


def gpus(value: Any) -> int | list[int] | None:
    """As `devices`, but what is left open is all of them."""
    return -1 if value == "auto" else devices(value)  # type: ignore[return-value]  # no text


def some_devices(value: Any) -> int | list[int] | str | None:
    """As `devices`, but there must be one."""
    found = devices(value)
    if found in (0, []):
        raise ValueError("1 or more; without one leave it out, or give accelerator='cpu'")
    return found


def _of_text(text: str) -> int | list[int] | None:
    if not text:
        return None
    try:
        if "," in text:
            return [int(part) for part in text.split(",") if part.strip()]
        return int(text)
    except ValueError:
        raise ValueError("a number, -1 for all, a list such as [0, 1], or '0,1'") from None


def logger(value: Any) -> Any:
    """True, False, a logger or several."""
    if value is None or isinstance(value, bool):
        return True if value is None else value
    loggers = as_list(value)
    if all(callable(getattr(one, "log_metrics", None)) for one in loggers):
        return value if hasattr(value, "log_metrics") else loggers
    raise ValueError("True, False, a logger of engine.loggers or a list of them")


def runs(value: Any) -> int:
    """True is one batch, a number so many."""
    try:
        return int(value) if isinstance(value, bool) else count(value)
    except ValueError:
        raise ValueError("True, False or a number of batches") from None


def path(value: Any) -> str | None:
    """A path, made absolute."""
    if value is None:
        return None
    given = str(os.fspath(value))
    if "://" in given:
        raise ValueError("a folder that is mounted here: addresses such as s3:// are not supported")
    return os.path.abspath(os.path.expanduser(given))


def native(value: Any) -> str:
    """The one backend of mixed precision."""
    if value in (None, "native"):
        return "native"
    raise ValueError("'native', torch's own mixed precision: Apex is not supported")


def level(value: Any) -> str | None:
    """Apex's level; two of them are what torch's own mixed precision does."""
    if value in (None, "O1", "O2"):
        return value  # type: ignore[no-any-return]  # one of three
    raise ValueError("precision=16, 'bf16' or 32 in its place: levels are Apex's")


def scaling(value: Any) -> str | None:
    """How the batch size grows."""
    if value is None or value is False:
        return None
    if value is True:
        return "power"
    return str(one_of("power", "binsearch")(value))
