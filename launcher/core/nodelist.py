"""Lists of node names: ``gpu[01-03,7]`` to names and back, and the order people expect. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_NAMES = 100_000
MAX_NAME_LENGTH = 255

_TOKEN = re.compile(
    r"(?P<comma>\s*,\s*)|\[(?P<numbers>[^\[\]]*)\]|(?P<text>[^\[\],\s]+)|(?P<space>\s+)"
)
_RANGE = re.compile(r"\s*([0-9]{1,18})(?:\s*-\s*([0-9]{1,18}))?\s*")
_DIGITS = re.compile(r"([0-9]+)")


class NodeListError(ValueError):
    """A list of names that can't be read: what is wrong, and where."""

    def __init__(self, problem: str, text: str, position: int) -> None:
        super().__init__(f"{problem} at character {position + 1} of {text!r}")
        self.problem, self.text, self.position = problem, text, position


@dataclass(frozen=True)
class _Range:
    """The numbers from ``first`` to ``last``, written with at least ``width`` digits."""

    first: int
    last: int
    width: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[str]:
        return (str(number).zfill(self.width) for number in range(self.first, self.last + 1))


def expand(text: str) -> list[str]:
    """Return the names that ``text`` stands for, in its order: ``n[08-10],login`` are 4 names.

    Names are separated by commas; brackets hold numbers and ranges, and several of them in one
    name multiply. Leading zeros give the width. Raises NodeListError, also above 100,000 names.
    """
    names: list[str] = []
    for position, parts in _entries(text):
        count = 1
        for part in parts:
            count *= sum(map(len, part))
        if len(names) + count > MAX_NAMES:
            raise NodeListError(f"more than {MAX_NAMES:,} names", text, position)
        choices = ([name for alternative in part for name in alternative] for part in parts)
        for pieces in itertools.product(*choices):
            names.append("".join(pieces))
            if len(names[-1]) > MAX_NAME_LENGTH:
                problem = f"a name of more than {MAX_NAME_LENGTH} characters"
                raise NodeListError(problem, text, position)
    return names


def fold(names: Iterable[str]) -> str:
    """Return the short form of a set of names in natural order: ``host[1-4],login``.

    ``expand(fold(names))`` are the different names, sorted by ``natural_key``.
    """
    entries: list[str] = []
    run: list[list[str]] = []
    slot: int | None = None
    for name in sorted(set(names), key=natural_key):
        pieces = _DIGITS.split(name)
        changed = _only_change(run[-1], pieces) if run else None
        if changed is None or slot not in (None, changed):
            entries += [_fold_run(run, slot)] if run else []
            run, slot = [], None
        else:
            slot = changed
        run.append(pieces)
    return ",".join(entries + ([_fold_run(run, slot)] if run else []))


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key by which node2 comes before node10; different names have different keys."""
    pieces = _DIGITS.split(name)
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces)), name


def _entries(text: str) -> Iterator[tuple[int, list[list[_Range] | list[list[str]]]]]:
    """Split ``text`` at its commas: the position of each entry, and the choices it is made of."""
    parts: list[list[_Range] | list[list[str]]] = []
    begin = position = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    while position < end:
        token = _TOKEN.match(text, position)
        if token is None:
            what = "a '[' without its ']'" if text[position] == "[" else "a ']' without its '['"
            raise NodeListError(what, text, position)
        if token["space"] is not None:
            raise NodeListError("a space within a name (a comma is missing?)", text, position)
        if token["comma"] is not None:
            if not parts:
                raise NodeListError("a comma without a name before it", text, position)
            yield begin, parts
            parts, begin = [], token.end()
            if begin >= end:
                raise NodeListError("a comma without a name after it", text, position)
        elif token["numbers"] is not None:
            parts.append(_ranges(text, position + 1, token["numbers"]))
        else:
            parts.append([[token["text"]]])
        position = token.end()
    if parts:
        yield begin, parts


def _ranges(text: str, position: int, numbers: str) -> list[_Range]:
    ranges = []
    for item in numbers.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            raise NodeListError(f"not a number or a range: {item.strip()!r}", text, position)
        low, high = match[1], match[2] or match[1]
        if int(high) < int(low):
            raise NodeListError(f"a range that runs backwards: {item.strip()!r}", text, position)
        if high.startswith("0") and len(high) > 1 and len(high) != len(low):
            raise NodeListError(f"numbers of different widths: {item.strip()!r}", text, position)
        ranges.append(_Range(int(low), int(high), len(low)))
        position += len(item) + 1
    return ranges


def _only_change(before: list[str], after: list[str]) -> int | None:
    """Return the index of the one number in which two names differ, None if there is more."""
    if len(before) != len(after):
        return None
    changes = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return changes[0] if len(changes) == 1 and changes[0] % 2 else None


def _fold_run(run: list[list[str]], slot: int | None) -> str:
    """Write names that differ in the number at index ``slot`` only, in their order."""
    if slot is None:
        return "".join(run[0])
    ranges: list[list[str]] = []
    for number in (pieces[slot] for pieces in run):
        if ranges and number == str(int(ranges[-1][-1]) + 1).zfill(len(ranges[-1][0])):
            ranges[-1].append(number)
        else:
            ranges.append([number])
    inside = ",".join(r[0] if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in ranges)
    return "".join(run[0][:slot]) + f"[{inside}]" + "".join(run[0][slot + 1 :])
