"""Numbers that are logged: as tensors when they come in, as floats when they go out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from engine.runtime.errors import MisconfigurationException


def is_metric(value: Any) -> bool:
    """Whether this is a metric of torchmetrics."""
    # torchmetrics is never imported by us: a metric can only come from where it is loaded.
    torchmetrics = sys.modules.get("torchmetrics")
    return torchmetrics is not None and isinstance(value, torchmetrics.Metric)


def as_tensor(name: str, value: Any) -> torch.Tensor:
    """A number that was logged under a name."""
    if hasattr(value, "items"):  # a dict, or a collection of metrics
        raise MisconfigurationException(
            f"self.log({name!r}): it takes one number, not a {type(value).__name__}; "
            "self.log_dict takes all that is in it"
        )
    try:
        return torch.tensor(float(value), dtype=torch.float64)  # as exact as it came
    except (TypeError, ValueError) as error:
        raise MisconfigurationException(
            f"self.log({name!r}): it takes one number, not {type(value).__name__}"
        ) from error


def as_scalar(name: str, value: torch.Tensor) -> torch.Tensor:
    """The one number of a tensor that was logged under a name."""
    if value.numel() != 1:
        raise MisconfigurationException(
            f"self.log({name!r}): it takes one number, not a tensor of {tuple(value.shape)}"
        )
    return value.reshape(())


def to_floats(values: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of tensors, in one copy from each device."""
    floats: dict[str, float] = {}
    by_device: dict[torch.device, list[str]] = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            by_device.setdefault(value.device, []).append(name)
        else:
            floats[name] = float(value)
    for names in by_device.values():
        stacked = torch.stack([values[name].detach().double().reshape(()) for name in names])
        floats.update(zip(names, stacked.tolist(), strict=True))
    return {name: floats[name] for name in values}
