"""YAML as plain data, when it is no more than its text says.

A text of a few lines can name lists of lists of lists again and again: a thousand words become more
than a machine holds as soon as somebody copies them.
"""

from __future__ import annotations

import os
from typing import IO, Any

from engine.runtime.storage.rehearsal import DEPTH, unfolded

MOST_BYTES = 16 << 20
FACTOR, ROOM = 16, 100_000  # parts that a text may have: so many for each byte, and so many anyway


def load_yaml(given: str | bytes | IO[Any], name: str) -> Any:
    """The data of a YAML text, or of an open file; `name` is what errors call it.

    Raises ValueError where it would become too much, and YAML's own errors.
    """
    import yaml

    text = given if isinstance(given, (str, bytes)) else given.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES >> 20} MiB: that is no configuration")
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        count, depth = unfolded(node, _inside)
        if depth > DEPTH or count > ROOM + FACTOR * len(text):
            raise ValueError(
                f"{name} has {len(text)} bytes and stands for {count} values, nested {depth} deep, "
                "as parts of it name others: write out what it means"
            )
        return None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deep") from error
    finally:
        loader.dispose()


def load_yaml_file(path: str | os.PathLike[str]) -> Any:
    """The data of a YAML file. Raises as `load_yaml`, and OSError."""
    with open(path, "rb") as file:
        return load_yaml(file, os.fspath(path))


def _inside(node: Any) -> Any:
    value = getattr(node, "value", None)
    if not isinstance(value, list):
        return ()
    return [part for one in value for part in (one if isinstance(one, tuple) else (one,))]
