"""File names of checkpoints, made from a template and metrics: pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

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
