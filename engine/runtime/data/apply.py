"""A function on every member of a batch, and methods that move their arguments by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch

from engine.runtime.data.samplers import mapped, move

if TYPE_CHECKING:
    from engine.runtime.data.types import Batch


def apply_to_collection(
    data: Any,
    dtype: type | tuple[type, ...],
    function: Callable[..., Any],
    *args: Any,
    wrong_dtype: type | tuple[type, ...] | None = None,
    include_none: bool = True,
    **kwargs: Any,
) -> Any:
    """`data` with `function` of every member that is a `dtype`, however deep it lies.

    Members that are a `wrong_dtype` as well stay as they are. Without `include_none` what becomes
    None is left out of lists and dicts.
    """

    def changed(item: Any) -> Any:
        if isinstance(item, dtype) and not (wrong_dtype and isinstance(item, wrong_dtype)):
            return function(item, *args, **kwargs)
        if include_none:
            return mapped(item, changed)
        if isinstance(item, Mapping):
            kept = {key: value for key, value in item.items() if changed(value) is not None}
            return mapped(kept, changed)
        if type(item) in (list, tuple):
            found = [changed(one) for one in item]
            return type(item)(one for one in found if one is not None)
        return mapped(item, changed)

    return changed(data)


def move_data_to_device(batch: Batch, device: torch.device | str | int) -> Any:
    """The batch with all its tensors, however nested, on `device`."""
    return move(batch, torch.device(device))


def auto_move_data(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a module's method: its arguments go to the device that the module is on."""

    @wraps(method)
    def moved(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "_trainer", None) is not None and self._trainer.training:
            return method(self, *args, **kwargs)  # batches have been moved already
        given, named = move((list(args), kwargs), self.device)
        return method(self, *given, **named)

    return moved
