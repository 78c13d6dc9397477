"""Which modules there are, which names each has, and where the engine has them.

The data lie beside this file: for each module, which of the engine's rooms gives which names. A
name that is another in the engine is written `old=new`; `*` is whatever the room has.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from engine.compat.tables.fabric import FABRIC
from engine.compat.tables.internals import INSIDE
from engine.compat.tables.parts import PARTS
from engine.compat.tables.third_party import BOLTS
from engine.compat.tables.tools import TOOLS
from engine.compat.tables.top import LIGHTNING, TOP

Rooms = Mapping[str, str]

# The longest prefix counts.
TREES: dict[str, Mapping[str, Rooms]] = {
    "lightning": {"": LIGHTNING, **FABRIC},
    "lightning.pytorch": {**TOP, **PARTS, **TOOLS, **INSIDE, "": {**TOP[""], **LIGHTNING}},
    "lightning_fabric": {name.partition(".")[2]: rooms for name, rooms in FABRIC.items()},
    "pl_bolts": BOLTS,
    "pytorch_lightning": {**TOP, **PARTS, **TOOLS, **INSIDE},
}


@cache
def _modules() -> dict[str, Rooms]:
    """All modules by their full names, those between included."""
    found: dict[str, Rooms] = {}
    for prefix, tree in TREES.items():
        for path, rooms in tree.items():
            found[f"{prefix}.{path}".rstrip(".")] = rooms
    for name in list(found):
        while "." in name:
            name = name.rpartition(".")[0]
            found.setdefault(name, {})
    return found


@cache
def _explicit(module: str) -> dict[str, str]:
    """The names that a module lists, and `room:name` of each."""
    found = {}
    for room, words in _modules().get(module, {}).items():
        for word in words.split():
            name, _, new = word.partition("=")
            if name != "*":
                found[name] = f"{room}:{new or name}"
    return found


def is_module(name: str) -> bool:
    """Whether this is a module of the tables."""
    return name in _modules()


@cache
def children(module: str) -> list[str]:
    """The modules directly below a module, by their last name."""
    prefix = f"{module}."
    below = {name[len(prefix) :] for name in _modules() if name.startswith(prefix)}
    return sorted(name for name in below if "." not in name)


def names_of(module: str) -> list[str]:
    """The names that a module lists."""
    return sorted(name for name in _explicit(module) if not name.startswith("_"))


def resolve(module: str, name: str) -> str | None:
    """`room:name` of the engine for a name of a module, or None."""
    source = _explicit(module).get(name)
    if source is not None or name.startswith("__") or name in children(module):
        return source
    rooms = _modules().get(module, {})
    open_rooms = (room for room, words in rooms.items() if "*" in words.split())
    return next((f"{room}:{name}" for room in open_rooms), None)


def value_of(source: str, asked: str) -> Any:
    """What is there. Raises AttributeError that says why it can't be had."""
    room, _, name = source.partition(":")
    try:
        return getattr(importlib.import_module(room), name)
    except AttributeError as error:
        raise AttributeError(f"{asked}: {error}") from None


def say_missing(module: str, name: str) -> str:
    """A sentence for a name that is not there: what is, and where."""
    source = resolve(module, name)
    if source is not None:
        try:
            value_of(source, f"{module}.{name}")
        except AttributeError as error:
            return str(error)
    package = module.partition(".")[0]
    elsewhere = [m for m in _modules() if m.startswith(package) and name in _explicit(m)]
    known = [*_explicit(module), *children(module)]
    near = get_close_matches(name, known, n=1, cutoff=0.7)
    if near:
        advice = f"did you mean {near[0]!r}?"
    elif elsewhere:
        advice = f"it is in {min(elsewhere, key=len)}"
    else:
        advice = (
            "the engine has nothing of this name: write the script without it, or tell us what it "
            "is needed for"
        )
    return f"{module} has no {name!r} here, where the engine stands in for Lightning; {advice}"
