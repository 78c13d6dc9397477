"""What `importlib.metadata` says of the packages that the engine stands in for: their version."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from engine.compat.tables import resolve, value_of


class Said(Distribution):
    """A package without files: programs ask for the version that they need."""

    def __init__(self, name: str, version: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        """Its metadata; it has no other file."""
        return self._text if filename in ("METADATA", "PKG-INFO") else None

    def locate_file(self, path: Any) -> Any:
        """Where a file of it would be."""
        return Path(path)


def said_of(name: str | None, packages: Collection[str]) -> Iterator[Said]:
    """The distribution of this name, if it is one of the packages; none for whoever lists all."""
    package = re.sub(r"[-.]+", "_", name or "").lower()
    if package in packages:
        version = resolve(package, "__version__")
        if version is not None:
            yield Said(str(name), value_of(version, package))
