"""Files of checkpoints: their names, made from a template and metrics, and their places."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Collection, Mapping

SUFFIX = ".ckpt"
LAST = "last"
DEFAULT_TEMPLATE = "{epoch}-{step}"
_FIELD = re.compile(r"\{([^{}:]*)(:[^{}]*)?\}")


def fields_of(template: str) -> list[str]:
    """The metrics that a template names, in order."""
    return [match[1] for match in _FIELD.finditer(template)]


def checkpoint_name(
    template: str,
    values: Mapping[str, float],
    auto_insert_metric_name: bool = True,
    prefix: str = "",
) -> str:
    """Fill a template: `{epoch:02d}-{val_loss:.2f}` gives `epoch=02-val_loss=0.32`.

    A metric without a value stands as nan: a name never shows the value of another state.
    """

    def fill(match: re.Match[str]) -> str:
        name, spec = match[1], (match[2] or ":")[1:]
        text = _formatted(values.get(name, math.nan), spec)
        # A slash belongs to the metric's name, not to the path.
        return f"{name.replace('/', '_')}={text}" if auto_insert_metric_name else text

    name = _FIELD.sub(fill, template)
    return f"{prefix}-{name}" if prefix else name


def _formatted(value: float, spec: str) -> str:
    if spec.endswith("d") and not isinstance(value, int):
        if not math.isfinite(value):
            return str(value)
        value = int(value)
    return format(value, spec)


def numbered(name: str, version: int) -> str:
    """The name for the n-th file that would be called so: `a`, `a-v1`, `a-v2`."""
    return f"{name}-v{version}" if version else name


def of_filepath(filepath: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Folder and template, which 1.0 took as one path; a folder that is there has no template."""
    path = os.path.abspath(os.path.expanduser(filepath))
    if os.path.isdir(path) or os.fspath(filepath).endswith(os.sep):
        return path, None
    return os.path.dirname(path), os.path.basename(path)


def free_path(
    path: str, ours: Collection[str], suffix: str = SUFFIX, counts_versions: bool = True
) -> str:
    """Where to write what should be at `path`: there, if it is one of `ours` or nobody's.

    Unless `counts_versions`, whatever is there is overwritten.
    """
    if not counts_versions:
        return path + suffix
    version = 0
    while True:
        candidate = numbered(path, version) + suffix
        if candidate in ours or not os.path.exists(candidate):
            return candidate
        version += 1


def remove_within(folder: str, path: str) -> None:
    """Delete a file below `folder`; one elsewhere belongs to the run that this one came from."""
    if folder and path.startswith(folder + os.sep):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
