"""The Trainer's arguments: one table, and the small frozen settings that it is turned into.

A row is an argument: its name, default, meaning, parser, and the Lightning that had it first. An
argument that has no row is an error with the nearest name.
"""

from engine.trainer.options.change import CHANGEABLE, changed
from engine.trainer.options.parse import parse
from engine.trainer.options.parsers import as_list
from engine.trainer.options.table import OPTIONS, SHOWN
from engine.trainer.options.words import description, notices, signature

__all__ = [
    "CHANGEABLE",
    "OPTIONS",
    "SHOWN",
    "as_list",
    "changed",
    "description",
    "notices",
    "parse",
    "signature",
]
