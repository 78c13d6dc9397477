"""What loggers of one's own do to what they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.loggers import Logger

_convert_params = Logger._convert_params
_flatten_dict = Logger._flatten_dict
_sanitize_params = Logger._sanitize_params


def _add_prefix(metrics: Mapping[str, Any], prefix: str, separator: str) -> Mapping[str, Any]:
    """The metrics under names that begin with `prefix`."""
    if not prefix:
        return metrics
    return {f"{prefix}{separator}{name}": value for name, value in metrics.items()}
