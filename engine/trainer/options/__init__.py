"""The Trainer's arguments: one table, and the small frozen settings that it is turned into.

A row is an argument: its name, default, meaning, parser, and the Lightning that had it first.
Spellings of 1.x are translated before the table is read; an argument that is neither is an error
with the nearest name.
"""

from engine.compat.arguments.environment import from_environment, said
from engine.compat.arguments.spellings import named
from engine.trainer.options.change import CHANGEABLE, changed
from engine.trainer.options.parse import parse
from engine.trainer.options.parsers import as_list
from engine.trainer.options.table import NEVER, OLD, OPTIONS, SHOWN
from engine.trainer.options.words import description, notices, shell_arguments, signature

__all__ = [
    "CHANGEABLE",
    "NEVER",
    "OLD",
    "OPTIONS",
    "SHOWN",
    "as_list",
    "changed",
    "description",
    "from_environment",
    "named",
    "notices",
    "parse",
    "said",
    "shell_arguments",
    "signature",
]
