"""The Trainer's arguments as Lightning 1.x spelled them."""

from engine.compat.arguments.spellings import parse, translated
from engine.compat.arguments.table import NEVER, OLD

__all__ = ["NEVER", "OLD", "parse", "translated"]
