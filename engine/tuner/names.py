"""Where a value lives that is tuned: an attribute, or a hyper-parameter, found by its name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from engine.runtime.errors import MisconfigurationException

LEARNING_RATES = ("lr", "learning_rate")
_MISSING = object()


def places_of(name: str, *owners: Any) -> list[tuple[Any, str]]:
    """All that hold a value `name`, dotted or not: (the object or mapping, the last name)."""
    found = []
    for owner in owners:
        for root in (owner, getattr(owner, "hparams", None)):
            holder, last = _holder(root, name)
            if holder is not None and _get(holder, last) is not _MISSING:
                found.append((holder, last))
    return found


def read(name: str, *owners: Any) -> Any:
    """The value `name`; the first of those that have it."""
    return _get(*places_of(name, *owners)[0])


def write(name: str, value: Any, *owners: Any) -> None:
    """Give `name` a value, wherever it lives."""
    written = False
    for holder, last in places_of(name, *owners):
        if isinstance(holder, MutableMapping):
            holder[last] = value
            written = True
        else:
            with suppress(AttributeError):  # a property that reads the hyper-parameter
                setattr(holder, last, value)
                written = True
    if not written:
        raise MisconfigurationException(
            f"the tuner can't set `{name}` of {_named(owners)}: it can only be read"
        )


def learning_rate_name(wanted: bool | str, *owners: Any) -> str:
    """The name that `auto_lr_find` means; raises where nothing has it."""
    if isinstance(wanted, str):
        return existing(wanted, "auto_lr_find", *owners)
    for name in LEARNING_RATES:
        if places_of(name, *owners):
            return name
    raise MisconfigurationException(
        f"auto_lr_find=True sets `lr` or `learning_rate`, and {_named(owners)} has neither, as "
        "attribute or in hparams: name it (auto_lr_find='my_name'), and let "
        "configure_optimizers use it"
    )


def existing(name: str, argument: str, *owners: Any) -> str:
    """`name`, if anything has it; raises with the nearest name otherwise."""
    if places_of(name, *owners):
        return name
    known = sorted({n for owner in owners for n in _names_of(owner)})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise MisconfigurationException(
        f"{argument}: {_named(owners)} has no `{name}`, as attribute or in hparams{hint}"
    )


def _names_of(owner: Any) -> list[str]:
    if owner is None:
        return []
    own = [name for name in vars(owner) if not name.startswith("_")]
    return [*own, *map(str, getattr(owner, "hparams", ()))]


def _named(owners: tuple[Any, ...]) -> str:
    return " or ".join(type(owner).__name__ for owner in owners if owner is not None)


def _holder(root: Any, name: str) -> tuple[Any, str]:
    """What holds the last part of a dotted name."""
    *parents, last = name.split(".")
    for parent in parents:
        root = None if root is None else _get(root, parent)
        if root is _MISSING:
            return None, last
    return root, last


def _get(holder: Any, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name, _MISSING)
    return getattr(holder, name, _MISSING)
