"""What a program is told of the Lightning that the engine stands in for."""

from __future__ import annotations

import logging
from typing import Any

# Programs compare it to decide between old and new names. `pytorch_lightning` is mostly imported by
# code of 1.x, and 1.5 has the most of it; `lightning` came with 2.0.
VERSION_1 = "1.5.10"
VERSION_2 = "2.0.0"

logger = logging.getLogger("pytorch_lightning")


def cli_lightning_logo() -> None:
    """Examples greet with a picture; here nothing is printed."""


def data_loader(method: Any) -> Any:
    """Before 1.0 methods that gave loaders were marked so; the mark has no effect."""
    return method
