"""The mistakes in the printed blocks, and what a reader types instead."""

from __future__ import annotations

from typing import NamedTuple


class Repair(NamedTuple):
    """A text of a block, what stands there instead, and what was wrong."""

    printed: str
    meant: str
    why: str


def repaired(text: str, repairs: tuple[Repair, ...]) -> str:
    """The block after its repairs, each of which must find its text."""
    for repair in repairs:
        assert repair.printed in text, f"nothing to repair: {repair}"
        text = text.replace(repair.printed, repair.meant)
    return text


def missing_import(line: str) -> Repair:
    """An import that a block lacks, put where the block begins."""
    return Repair(START, f"{START}{line}\n", "an import is missing")


START = "# the block\n"
